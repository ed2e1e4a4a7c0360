//! Which requests are asked about in which message, and under which policy: by the beginning
//! of their path, of which the longest counts.

use spoa_gcra::policy::{DEFAULT, Policies};

use super::Refused;
use super::values::PathOf;

/// Every message and policy of a file.
#[derive(Debug)]
pub(super) struct Routes {
    /// Whether there is more than the one policy of the environment.
    pub(super) file: bool,
    /// The messages that policies claim, beside `check-rate`.
    messages: Vec<Route>,
    /// The policies that claim none: the argument `policy` of `check-rate` asks for them.
    policies: Vec<Route>,
}

/// A message or a policy, and what the path of its requests begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) path: String,
    /// Nobody has given the path.
    pub(super) guessed: bool,
}

impl Routes {
    /// With the paths in `given`, and for what they do not name with a guess.
    ///
    /// # Errors
    /// If one of them names nothing, or if it would not be clear which message is to be sent.
    pub(super) fn new(policies: &Policies, given: &[PathOf]) -> Result<Self, Refused> {
        let all = policies.all();
        let claimed = all.iter().flat_map(|named| named.messages.iter());
        let unclaimed = all.iter().filter(|named| named.messages.is_empty());
        let unclaimed = unclaimed.map(|named| &named.policy.name);
        let mut routes = Self {
            file: all.len() > 1 || claimed.clone().next().is_some(),
            messages: claimed.map(|name| Route::guess(name)).collect(),
            policies: unclaimed
                .filter(|name| ***name != *DEFAULT)
                .map(|name| Route::guess(name))
                .collect(),
        };
        for path in given {
            routes.give(path)?;
        }
        // So that of the rules that name a policy the one with the longest path comes last.
        routes
            .messages
            .sort_by(|one, other| one.path.cmp(&other.path));
        routes
            .policies
            .sort_by(|one, other| one.path.cmp(&other.path));
        unambiguous(routes.messages.iter())?;
        unambiguous(routes.policies.iter().filter(|route| !route.guessed))?;
        Ok(routes)
    }

    pub(super) fn messages(&self) -> &[Route] {
        &self.messages
    }

    pub(super) fn policies(&self) -> &[Route] {
        &self.policies
    }

    /// The messages whose paths nobody has given. A policy of which that is true is not asked
    /// for at all.
    pub(super) fn guessed(&self) -> impl Iterator<Item = &Route> {
        self.messages.iter().filter(|route| route.guessed)
    }

    /// The paths of other messages that begin like this one's, and are not its own.
    pub(super) fn longer<'a>(&'a self, route: &'a Route) -> impl Iterator<Item = &'a str> {
        let others = self.messages.iter().map(|other| &*other.path);
        others.filter(|other| other.starts_with(&route.path) && *other != route.path)
    }

    fn give(&mut self, given: &PathOf) -> Result<(), Refused> {
        let mut all = self.messages.iter_mut().chain(&mut self.policies);
        let Some(route) = all.find(|route| route.name == given.name) else {
            let names = self.messages.iter().chain(&self.policies);
            let names: Vec<&str> = names.map(|route| &*route.name).collect();
            let names = match names.is_empty() {
                true => "none".to_owned(),
                false => names.join(", "),
            };
            return Err(Refused::NoRoute(given.clone(), names));
        };
        if !route.guessed {
            return Err(Refused::PathTwice(given.clone(), given.name.clone()));
        }
        route.path.clone_from(&given.path);
        route.guessed = false;
        Ok(())
    }
}

impl Route {
    /// `check-login` is probably about `/login`.
    fn guess(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: format!("/{}", name.strip_prefix("check-").unwrap_or(name)),
            guessed: true,
        }
    }
}

/// Of routes sorted by path.
fn unambiguous<'a>(routes: impl Iterator<Item = &'a Route> + Clone) -> Result<(), Refused> {
    let pairs = routes.clone().zip(routes.skip(1));
    for (one, other) in pairs {
        if one.path == other.path {
            return Err(Refused::SamePath {
                one: one.name.clone(),
                other: other.name.clone(),
                path: one.path.clone(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use spoa_gcra::policy::{Named, Policy};

    use super::*;

    fn policies(all: &[(&str, &[&str])]) -> Policies {
        let named = |(name, messages): &(&str, &[&str])| Named {
            policy: Arc::new(Policy::new(name, Vec::new()).unwrap()),
            messages: messages.iter().map(|message| (*message).into()).collect(),
        };
        let all: Vec<Named> = all.iter().map(named).collect();
        Policies::new(all, || Policy::new(DEFAULT, Vec::new()).unwrap())
    }

    fn routes(all: &[(&str, &[&str])], given: &[&str]) -> Result<Routes, String> {
        let given: Vec<PathOf> = given.iter().map(|path| path.parse().unwrap()).collect();
        Routes::new(&policies(all), &given).map_err(|refused| refused.to_string())
    }

    #[test]
    fn one_policy_needs_no_condition() {
        let routes = routes(&[], &[]).unwrap();
        assert_eq!((routes.file, routes.messages().len()), (false, 0));
    }

    #[test]
    fn each_path_is_of_one_message() {
        let all: &[(&str, &[&str])] = &[("login", &["check-login", "sms"]), ("api", &[])];
        let routes = routes(all, &["sms=/login/sms", "api=/api"]).unwrap();
        let longer = |one| routes.longer(one).collect::<Vec<_>>();
        let paths: Vec<_> = routes
            .messages()
            .iter()
            .map(|one| (&*one.path, longer(one)))
            .collect();
        assert_eq!(
            paths,
            [("/login", vec!["/login/sms"]), ("/login/sms", vec![])]
        );
        let guessed: Vec<_> = routes.guessed().map(|route| &*route.name).collect();
        assert_eq!(guessed, ["check-login"]);
        assert!(!routes.policies()[0].guessed);
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        let all: &[(&str, &[&str])] = &[("a", &["check-login", "login"]), ("api", &[])];
        assert!(routes(all, &[]).unwrap_err().contains("both for /login"));
        assert!(routes(all, &["login=/x"]).is_ok());
        let unknown = routes(all, &["nobody=/x"]).unwrap_err();
        assert!(
            unknown.ends_with("there are: check-login, login, api"),
            "{unknown}"
        );
        let twice = routes(all, &["api=/x", "api=/y"]).unwrap_err();
        assert!(twice.contains("has a path already"), "{twice}");
    }
}

//! An agent, and its live view in the browser.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spop_client::Client as Haproxy;
use spop_client::spop_codec::TypedData;
use spop_testkit::agent::{self, Agent};
use spop_testkit::browser::Browser;
use spop_testkit::http::Client;
use spop_testkit::port;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::exposition::Exposition;

/// How long anything may take that is only a question of time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What the page says: the numbers by their ids, and the policies' rows by their names.
const SEEN: &str = r##"(() => {
    const value = (data) => Number(data.getAttribute("value"));
    const numbers = {};
    for (const data of document.querySelectorAll("data[id]")) numbers[data.id] = value(data);
    const policies = {};
    for (const row of document.querySelectorAll("#policies tr"))
        policies[row.querySelector("b").textContent] = [...row.querySelectorAll("data")].map(value);
    return { numbers, policies };
})()"##;

/// An agent with an admin listener, and the page that shows it.
pub(crate) struct View<'b> {
    pub(crate) browser: &'b mut Browser,
    pub(crate) agent: Agent,
    pub(crate) admin: SocketAddr,
}

impl<'b> View<'b> {
    /// Starts an agent and opens its page, wide as on a desk.
    pub(crate) async fn open(browser: &'b mut Browser, settings: &[(&str, &str)]) -> Self {
        let admin = port::free_addr().unwrap();
        let agent = start(port::free_addr().unwrap(), admin, settings).await;
        browser.resize(1280, 900, false).await.unwrap();
        // Away from the page before, and what it asked for.
        browser.open("about:blank").await.unwrap();
        browser.events().await.unwrap();
        let mut view = Self {
            browser,
            agent,
            admin,
        };
        view.reload().await;
        view
    }

    /// Opens the page again and waits until it shows something.
    pub(crate) async fn reload(&mut self) {
        let url = format!("http://{}/", self.admin);
        self.browser.open(&url).await.unwrap();
        self.until_it_says("#state", "live").await;
        self.until(
            "a rate",
            "document.getElementById('rate-allowed').value !== ''",
        )
        .await;
    }

    /// What the agent itself says.
    pub(crate) async fn metrics(&self) -> Exposition {
        let url = format!("http://{}/metrics", self.admin);
        let answer = Client::new().get(url).send().await.unwrap();
        Exposition::parse(std::str::from_utf8(&answer.body).unwrap())
    }

    /// A connection like HAProxy's.
    pub(crate) async fn haproxy(&self) -> Haproxy<TcpStream> {
        Haproxy::connect(self.agent.addr()).await.unwrap()
    }

    /// What the page shows.
    pub(crate) async fn seen(&mut self) -> Value {
        self.evaluate(SEEN).await
    }

    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        self.browser.evaluate(expression).await.unwrap()
    }

    /// The text of an element.
    pub(crate) async fn text(&mut self, selector: &str) -> String {
        let text = format!(
            "document.querySelector({})?.innerText ?? ''",
            json!(selector)
        );
        self.evaluate(&text).await.as_str().unwrap().to_owned()
    }

    /// Waits until an element has this in its text.
    pub(crate) async fn until_it_says(&mut self, selector: &str, text: &str) {
        let says = format!(
            "document.querySelector({})?.innerText.includes({})",
            json!(selector),
            json!(text)
        );
        self.until(text, &says).await;
    }

    /// Waits until a JavaScript expression is true.
    pub(crate) async fn until(&mut self, what: &str, condition: &str) {
        let since = Instant::now();
        while self.evaluate(condition).await != json!(true) {
            if since.elapsed() > PATIENCE {
                let page = self.text("body").await;
                panic!("gave up waiting: {what}\n{page}");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Since the last call: that nothing was asked for but this agent's own, and that the
    /// browser had nothing to complain about.
    pub(crate) async fn nothing_went_wrong(&mut self) {
        let own = format!("http://{}/", self.admin);
        for (name, event) in self.browser.events().await.unwrap() {
            if name == "Network.requestWillBeSent" {
                let url = event["request"]["url"].as_str().unwrap();
                assert!(url.starts_with(&own) || url.starts_with("data:"), "{url}");
            } else {
                panic!("{name}: {event:#}");
            }
        }
    }
}

pub(crate) async fn start(addr: SocketAddr, admin: SocketAddr, settings: &[(&str, &str)]) -> Agent {
    let setup = agent::Setup::new(env!("CARGO_BIN_EXE_spoa-gcra"))
        .addr(addr)
        .set("SPOA_ADMIN_ADDR", admin);
    let set = |setup: agent::Setup, (name, value): &(&str, &str)| setup.set(name, value);
    let agent = settings.iter().fold(setup, set).start().await.unwrap();
    let line = agent.process().line("live view at http://", PATIENCE).await;
    assert!(line.unwrap().ends_with(&format!("http://{admin}/")));
    agent
}

/// One request of a client, under a policy.
pub(crate) async fn ask(haproxy: &mut Haproxy<TcpStream>, last: u8, policy: &str) {
    let args = [
        ("ip_src", TypedData::Ipv4([192, 0, 2, last].into())),
        ("policy", TypedData::from(policy)),
    ];
    haproxy.notify("check-rate", args).await.unwrap();
}

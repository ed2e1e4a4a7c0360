//! OpenTelemetry's variables, as far as its SDK would pass over a mistake in silence.

/// Why traces cannot be sent as the environment says. One line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TracesError {
    /// A variable is not acceptable.
    #[error("{name}={value:?}: {problem}")]
    Value {
        /// The variable.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        problem: &'static str,
    },
    /// A variable is not acceptable whose value may hold a secret.
    #[error("{name}: {problem}")]
    Secret {
        /// The variable.
        name: &'static str,
        /// What it may say.
        problem: &'static str,
    },
    /// OpenTelemetry's own reason.
    #[error("traces: {0}")]
    Exporter(String),
}

/// The variable that says where to send traces, if they are to be sent.
pub(super) fn asked_by(
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Option<&'static str>, TracesError> {
    let disabled = lookup("OTEL_SDK_DISABLED").unwrap_or_default();
    let exporter = lookup("OTEL_TRACES_EXPORTER").unwrap_or_default();
    if disabled.eq_ignore_ascii_case("true") || exporter == "none" {
        return Ok(None);
    }
    let endpoints = [
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    ];
    let set = |name: &&str| lookup(name).is_some_and(|value| !value.is_empty());
    let Some(name) = endpoints.into_iter().find(set) else {
        return Ok(None);
    };
    if !matches!(&*exporter, "" | "otlp") {
        return Err(TracesError::Value {
            name: "OTEL_TRACES_EXPORTER",
            value: exporter,
            problem: "neither otlp nor none",
        });
    }
    Ok(Some(name))
}

/// Checks the others, given which variable says where to send traces.
#[cfg(feature = "otel")]
pub(super) fn check(
    lookup: impl Fn(&str) -> Option<String>,
    asked_by: &'static str,
) -> Result<(), TracesError> {
    let value = |name| lookup(name).unwrap_or_default();
    let endpoint = value(asked_by);
    if !["http://", "https://"]
        .iter()
        .any(|scheme| endpoint.starts_with(scheme))
    {
        return Err(TracesError::Secret {
            name: asked_by,
            problem: "begins neither with http:// nor with https://, as in http://127.0.0.1:4318",
        });
    }
    let protocol = "only http/protobuf is there, which collectors take on port 4318";
    let compression = "there is no compression";
    for (name, only, problem) in [
        (
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "http/protobuf",
            protocol,
        ),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", protocol),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none", compression),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "none", compression),
    ] {
        let value = value(name);
        if !value.is_empty() && value != only {
            return Err(TracesError::Value {
                name,
                value,
                problem,
            });
        }
    }
    sampler(
        value("OTEL_TRACES_SAMPLER"),
        value("OTEL_TRACES_SAMPLER_ARG"),
    )
}

#[cfg(feature = "otel")]
fn sampler(sampler: String, argument: String) -> Result<(), TracesError> {
    match &*sampler {
        "" | "always_on" | "always_off" | "parentbased_always_on" | "parentbased_always_off" => {
            Ok(())
        }
        "traceidratio" | "parentbased_traceidratio" => match argument.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
            _ => Err(TracesError::Value {
                name: "OTEL_TRACES_SAMPLER_ARG",
                value: argument,
                problem: "not a number from 0 to 1, such as 0.01",
            }),
        },
        _ => Err(TracesError::Value {
            name: "OTEL_TRACES_SAMPLER",
            value: sampler,
            problem: "not one of always_on, always_off, traceidratio, parentbased_always_on, \
                      parentbased_always_off, parentbased_traceidratio",
        }),
    }
}

/// The longest that a batch may take, in ms: 10 s unless somebody says otherwise.
#[cfg(feature = "otel")]
pub(super) fn timeout(
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<std::time::Duration, TracesError> {
    for name in [
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
    ] {
        let value = lookup(name).unwrap_or_default();
        match value.parse() {
            Ok(millis) => return Ok(std::time::Duration::from_millis(millis)),
            Err(_) if value.is_empty() => {}
            Err(_) => {
                return Err(TracesError::Value {
                    name,
                    value,
                    problem: "not a number of milliseconds",
                });
            }
        }
    }
    Ok(std::time::Duration::from_secs(10))
}

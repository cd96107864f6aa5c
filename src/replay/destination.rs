//! Where a replay sends letters, as a plan freezes it. No secret is in it: the URI of another broker is named by its file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where letters go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case", deny_unknown_fields)]
pub enum Destination {
    /// Straight into the pipeline, without a broker.
    #[default]
    Pipeline,
    /// To one queue and to no other, whatever else is bound where the message came from; with its own routing key.
    Queue {
        /// `None`: each letter's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<String>,
    },
    /// To the exchange each letter came from, with its own routing key: everything that is bound there gets a copy.
    Origin {
        /// Go on where a message would reach another number of queues than one, or where that cannot be told.
        #[serde(default)]
        fan_out_ok: bool,
    },
    /// To an exchange.
    Exchange {
        exchange: String,
        /// `None`: each letter's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        routing_key: Option<String>,
        /// The file that holds the URI of another broker; `None`: the configured one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uri_file: Option<String>,
    },
    /// Into a file: Parquet if its name ends in `.parquet`, else lines of JSON.
    File { path: String },
}

/// What of a message is sent other than it came; the same for all letters of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sending {
    /// Let messages expire as they did the first time. Else they wait until somebody takes them.
    #[serde(default)]
    pub keep_expiration: bool,
    /// In place of each message's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
}

impl Destination {
    /// Whether a broker is needed for it.
    pub fn is_broker(&self) -> bool {
        matches!(self, Destination::Queue { .. } | Destination::Origin { .. } | Destination::Exchange { .. })
    }
}

const FORMS: &str = "write pipeline, queue, queue=NAME, origin, exchange=NAME[,key=KEY][,uri-file=FILE] or file:PATH";

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("{what}: {FORMS}"));
        if let Some(path) = text.strip_prefix("file:") {
            return if path.is_empty() { wrong("no path") } else { Ok(Self::File { path: path.to_owned() }) };
        }
        if let Some(rest) = text.strip_prefix("exchange=") {
            let (rest, uri_file) = split(rest, ",uri-file=");
            let (exchange, routing_key) = split(rest, ",key=");
            if uri_file.as_ref().is_some_and(String::is_empty) {
                return wrong("no file");
            }
            return Ok(Self::Exchange { exchange: exchange.to_owned(), routing_key, uri_file });
        }
        match text {
            "pipeline" => Ok(Self::Pipeline),
            "queue" => Ok(Self::Queue { queue: None }),
            "origin" => Ok(Self::Origin { fan_out_ok: false }),
            _ => match text.strip_prefix("queue=") {
                Some("") => wrong("no name"),
                Some(queue) => Ok(Self::Queue { queue: Some(queue.to_owned()) }),
                None => wrong("not a destination"),
            },
        }
    }
}

/// What stands before the last `mark`, and what behind it.
fn split<'a>(text: &'a str, mark: &str) -> (&'a str, Option<String>) {
    match text.rsplit_once(mark) {
        Some((before, behind)) => (before, Some(behind.to_owned())),
        None => (text, None),
    }
}

/// As [`FromStr`] reads it; what is not in the text (`fan_out_ok`) is not shown.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline => f.write_str("pipeline"),
            Self::Queue { queue: None } => f.write_str("queue"),
            Self::Queue { queue: Some(queue) } => write!(f, "queue={queue}"),
            Self::Origin { .. } => f.write_str("origin"),
            Self::File { path } => write!(f, "file:{path}"),
            Self::Exchange { exchange, routing_key, uri_file } => {
                write!(f, "exchange={exchange}")?;
                for (name, value) in [("key", routing_key), ("uri-file", uri_file)] {
                    if let Some(value) = value {
                        write!(f, ",{name}={value}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written_alike() {
        let forms = [
            "pipeline",
            "queue",
            "queue=flights",
            "origin",
            "exchange=events",
            "exchange=",
            "exchange=events,key=flight.jfk",
            "exchange=events,key=",
            "exchange=events,key=a,b,uri-file=/run/secrets/uri",
            "exchange=events,uri-file=/run/secrets/uri",
            "file:/tmp/letters.parquet",
        ];
        for form in forms {
            let destination: Destination = form.parse().expect(form);
            assert_eq!(destination.to_string(), form);
            let json = serde_json::to_string(&destination).expect("plain data");
            assert_eq!(serde_json::from_str::<Destination>(&json).expect("as written"), destination, "{json}");
        }
    }

    #[test]
    fn what_is_no_destination_is_refused_with_the_forms_there_are() {
        for form in ["", "queues", "queue=", "file:", "exchange", "exchange=e,uri-file=", "amqp://u:p@h"] {
            let error = form.parse::<Destination>().expect_err(form);
            assert!(error.ends_with(FORMS), "{error}");
        }
    }
}

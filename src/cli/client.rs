//! What the operator's commands share as clients of the public API: the way to a gateway, and how answers and
//! errors look.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::failure::Failure;
use super::usage::Usage;
use crate::grpc::pb;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it still stands.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Which gateway to ask.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// The gateway's gRPC address; `http://` may be left out.
    #[arg(long, value_name = "URL", env = "DESKGATE_SERVER", default_value = "http://127.0.0.1:50051")]
    server: String,
}

impl Server {
    /// A connection that stands.
    pub(super) async fn connect(&self) -> anyhow::Result<Channel> {
        let connected = self.endpoint()?.connect().await;
        connected.map_err(|error| anyhow!("no gateway answers at {self}: {}", cause_of(&error)))
    }

    /// How to connect.
    pub(super) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let endpoint = Endpoint::from_shared(url_of(&self.server)?)
            .map_err(|_error| Usage(format!("--server {self}: not a URL such as http://127.0.0.1:50051")))?;
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT).http2_keep_alive_interval(KEEPALIVE_INTERVAL))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.server)
    }
}

/// The server as a URL.
fn url_of(server: &str) -> Result<String, Usage> {
    match server.split_once("://") {
        None => Ok(format!("http://{server}")),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => Ok(server.to_owned()),
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => {
            Err(Usage(format!("--server {server}: there is no TLS in this version; use http://")))
        }
        Some(_) => Err(Usage(format!("--server {server}: not a URL such as http://127.0.0.1:50051"))),
    }
}

/// Why there is no connection, in the words of the innermost cause.
pub(super) fn cause_of(error: &tonic::transport::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// What an error says.
pub(super) fn said_by(status: &Status) -> String {
    match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    }
}

/// A call that failed, as the command's own error.
pub(super) fn failed(status: &Status) -> anyhow::Error {
    Failure::of(status).into()
}

/// Protobuf JSON of messages of the API.
pub(super) struct Json(DescriptorPool);

impl Json {
    /// The API's own descriptors.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self(DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET)?))
    }

    /// `message`, which is a `deskgate.v1` message called `name`, on one line.
    pub(super) fn line(&self, name: &str, message: &impl Message) -> anyhow::Result<String> {
        let descriptor = self.0.get_message_by_name(&format!("deskgate.v1.{name}"));
        let descriptor = descriptor.with_context(|| format!("the API has no {name}"))?;
        let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
        let mut json = serde_json::Serializer::new(Vec::new());
        message
            .serialize_with_options(&mut json, &SerializeOptions::new().stringify_64_bit_integers(true))?;
        Ok(String::from_utf8(json.into_inner())?)
    }
}

/// A time as the commands show it.
pub(super) fn time_of(time: Option<prost_types::Timestamp>) -> String {
    let time = time.and_then(|time| jiff::Timestamp::new(time.seconds, time.nanos).ok());
    time.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default()
}

/// Writes a line of the answer.
pub(super) fn tell(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout().lock(), "{line}")?)
}

/// A closed pipe is the reader's way to say enough.
pub(super) fn is_enough(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_needs_no_scheme() {
        assert_eq!(url_of("127.0.0.1:50051").unwrap(), "http://127.0.0.1:50051");
        assert_eq!(url_of("http://gateway:1").unwrap(), "http://gateway:1");
        assert!(url_of("https://gateway:1").unwrap_err().to_string().contains("no TLS"));
        assert!(url_of("ftp://gateway:1").is_err());
    }
}

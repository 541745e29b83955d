//! `godwit health`: what a container's health check runs, without any other tool in the image.

use clap::{Args, ValueEnum};

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::{Common, output};

#[derive(Args)]
#[command(after_help = "Examples:\n  godwit health\n  godwit health live")]
pub(super) struct Health {
    /// What to ask
    #[arg(value_enum, default_value_t = What::Ready)]
    what: What,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    Live,
    Ready,
}

pub(super) fn run(common: &Common, command: Health) -> Result<Exit, CliError> {
    let path = match command.what {
        What::Live => "/-/health/live",
        What::Ready => "/-/health/ready",
    };
    let client = Client::unsigned(&command.endpoint)?;
    let (status, body) = client.get_raw(path)?;
    let text = String::from_utf8_lossy(&body);
    if common.json {
        output::line(text.trim_end());
    } else {
        output::line(if status == 200 { "ok" } else { text.trim_end() });
    }
    Ok(if status == 200 { Exit::Ok } else { Exit::Unavailable })
}

//! `godwit config check` and `godwit config show`.

use clap::Subcommand;
use serde_json::json;

use super::error::{CliError, Exit};
use super::{Common, files, output};
use crate::config::{self, SETTINGS};

#[derive(Subcommand)]
pub(super) enum Config {
    /// Read the settings and the regions, and say what is wrong with them
    #[command(after_help = "Examples:\n  godwit config check --all-regions")]
    Check {
        /// Check the regions' files alone, not the settings of one node
        #[arg(long)]
        all_regions: bool,
    },
    /// Print the settings in force, secrets left out
    #[command(after_help = "Examples:\n  godwit config show\n  godwit config show --json")]
    Show,
}

pub(super) fn run(common: &Common, command: Config) -> Result<Exit, CliError> {
    let settings = files::settings(common.config.as_deref())?;
    match command {
        Config::Check { all_regions } => check(common, &settings, all_regions),
        Config::Show => show(common, settings),
    }
}

fn check(common: &Common, settings: &config::Config, all_regions: bool) -> Result<Exit, CliError> {
    let regions = files::regions(&settings.regions)?;
    let codes: Vec<String> = regions.iter().map(|region| region.code.to_string()).collect();
    if !all_regions {
        regions.find(settings.region()?)?;
    }
    if common.json {
        output::json(&json!({ "ok": true, "regions": codes }));
    } else {
        output::line(&format!("ok: {} regions: {}", codes.len(), codes.join(", ")));
    }
    Ok(Exit::Ok)
}

fn show(common: &Common, settings: config::Config) -> Result<Exit, CliError> {
    let mut table = toml::Table::try_from(settings).map_err(CliError::config)?;
    for setting in SETTINGS.iter().filter(|setting| setting.secret) {
        if let Some((outer, field)) = setting.path.split_once('.')
            && let Some(toml::Value::Table(inner)) = table.get_mut(outer)
            && let Some(value) = inner.get_mut(field)
        {
            *value = toml::Value::String("(set)".to_owned());
        }
    }
    if common.json {
        output::json(&table);
    } else {
        let text = toml::to_string(&table).map_err(CliError::config)?;
        output::line(text.trim_end());
    }
    Ok(Exit::Ok)
}

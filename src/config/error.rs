//! What can be wrong with settings, in words that name the setting.

use std::fmt;

/// Settings that cannot be used. Nothing was started or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// A value in the environment does not fit its setting.
    Environment { name: &'static str, why: String },
    /// A field has a value of the right type that makes no sense.
    Field { field: &'static str, why: &'static str },
    /// A region's file is wrong.
    Region { file: String, why: String },
    /// The folder of regions as a whole is wrong.
    Regions(String),
    /// The text is not TOML, or a field is unknown or of the wrong type.
    Syntax(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment { name, why } => write!(f, "{name} in the environment: {why}"),
            Self::Field { field, why } => write!(f, "`{field}` {why}"),
            Self::Region { file, why } => write!(f, "{file}: {why}"),
            Self::Regions(why) => write!(f, "regions: {why}"),
            Self::Syntax(why) => f.write_str(why.trim_end()),
        }
    }
}

impl std::error::Error for ConfigError {}

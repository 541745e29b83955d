//! Region files: one `CODE.toml` a region, in a folder that every node has.
//!
//! Invariant: a [`Regions`] value is consistent: unique codes that agree with their file names,
//! coordinates on the globe, and at least one voter that may hold primaries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::value::Size;
use crate::types::region::{Coordinates, RegionId, RegionInfo, Role};

/// What `regions/CODE.toml` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionFile {
    pub code: RegionId,
    /// For people: `Frankfurt`.
    pub name: String,
    /// Two letters.
    pub country: String,
    /// What location rules name.
    pub geo: String,
    pub location: Coordinates,
    /// Copies in one are not counted as different; the code itself when missing.
    pub failure_domain: Option<String>,
    #[serde(default = "full")]
    pub role: Role,
    /// Keeps registers. The members of a new cluster take this from `cluster init` instead.
    #[serde(default)]
    pub voter: bool,
    #[serde(default)]
    pub capacity: Capacity,
    #[serde(default)]
    pub endpoints: Endpoints,
    #[serde(default)]
    pub mesh: RegionMesh,
}

/// What the machine of this region has, where it differs from the defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capacity {
    pub memory_cache: Option<Size>,
    pub disk_cache: Option<Size>,
}

/// Where this region alone is reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Endpoints {
    pub s3: Option<String>,
}

/// Where the other nodes reach this one, when settings do not say it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegionMesh {
    /// `HOST:PORT`.
    pub address: Option<String>,
}

const fn full() -> Role {
    Role::Full
}

/// Geographies that location rules may name.
pub const GEOGRAPHIES: [&str; 6] = ["af", "apac", "eu", "na", "sa", "us"];

impl RegionFile {
    /// Reads one file; `file` is its name, for messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let error = |why: String| ConfigError::Region { file: file.to_owned(), why };
        let region: Self = toml::from_str(text).map_err(|e| error(e.to_string()))?;
        region.check(file).map_err(|why| error(why.to_owned()))?;
        Ok(region)
    }

    fn check(&self, file: &str) -> Result<(), &'static str> {
        let Coordinates { lat, lon } = self.location;
        if file != format!("{}.toml", self.code) {
            return Err("the file is not named CODE.toml after its `code`");
        }
        if !(-90.0..=90.0).contains(&lat) || !(-180.0..=180.0).contains(&lon) {
            return Err("`location` is not on the globe: lat -90 to 90, lon -180 to 180");
        }
        if self.country.len() != 2 || !self.country.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err("`country` has two capital letters");
        }
        if !GEOGRAPHIES.contains(&self.geo.as_str()) {
            return Err("`geo` is one of af, apac, eu, na, sa, us");
        }
        if self.name.trim().is_empty() {
            return Err("`name` is empty");
        }
        if self.voter && self.role != Role::Full {
            return Err("a voter has the role `full`");
        }
        Ok(())
    }

    /// The part that every member of the cluster knows.
    pub fn info(&self) -> RegionInfo {
        RegionInfo {
            id: self.code,
            city: self.name.clone(),
            coordinates: self.location,
            geography: self.geo.clone(),
            failure_domain: self.failure_domain.clone().unwrap_or_else(|| self.code.to_string()),
            role: self.role,
            voter: self.voter,
        }
    }
}

/// The folder, by code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Regions(BTreeMap<RegionId, RegionFile>);

impl Regions {
    /// Reads all files of the folder: pairs of file name and text.
    pub fn parse<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ConfigError> {
        let mut regions = BTreeMap::new();
        for (file, text) in files {
            let region = RegionFile::parse(file, text)?;
            regions.insert(region.code, region);
        }
        let voters = regions.values().filter(|r| r.voter).count();
        if regions.is_empty() {
            return Err(ConfigError::Regions("the folder has no CODE.toml".to_owned()));
        }
        if voters != 1 && voters != 2 && voters != 3 && voters != 5 && voters != 7 {
            return Err(ConfigError::Regions(format!(
                "{voters} files say `voter = true`; registers need 1, 2, 3, 5 or 7"
            )));
        }
        Ok(Self(regions))
    }

    /// The regions that come with the program, as in the folder `regions/` of the repository.
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("a test reads every built-in region")
    }

    pub fn find(&self, code: RegionId) -> Result<&RegionFile, ConfigError> {
        self.0.get(&code).ok_or_else(|| {
            let known: Vec<String> = self.0.keys().map(ToString::to_string).collect();
            ConfigError::Regions(format!("no file {code}.toml; there are: {}", known.join(", ")))
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &RegionFile> {
        self.0.values()
    }
}

const BUILT_IN: [(&str, &str); 18] = [
    ("ams.toml", include_str!("../../regions/ams.toml")),
    ("arn.toml", include_str!("../../regions/arn.toml")),
    ("bom.toml", include_str!("../../regions/bom.toml")),
    ("cdg.toml", include_str!("../../regions/cdg.toml")),
    ("dfw.toml", include_str!("../../regions/dfw.toml")),
    ("ewr.toml", include_str!("../../regions/ewr.toml")),
    ("fra.toml", include_str!("../../regions/fra.toml")),
    ("gru.toml", include_str!("../../regions/gru.toml")),
    ("iad.toml", include_str!("../../regions/iad.toml")),
    ("jnb.toml", include_str!("../../regions/jnb.toml")),
    ("lax.toml", include_str!("../../regions/lax.toml")),
    ("lhr.toml", include_str!("../../regions/lhr.toml")),
    ("nrt.toml", include_str!("../../regions/nrt.toml")),
    ("ord.toml", include_str!("../../regions/ord.toml")),
    ("sin.toml", include_str!("../../regions/sin.toml")),
    ("sjc.toml", include_str!("../../regions/sjc.toml")),
    ("syd.toml", include_str!("../../regions/syd.toml")),
    ("yyz.toml", include_str!("../../regions/yyz.toml")),
];

#[cfg(test)]
mod tests {
    use super::*;

    const FRA: &str = r#"
        code = "fra"
        name = "Frankfurt"
        country = "DE"
        geo = "eu"
        location = { lat = 50.03, lon = 8.56 }
        voter = true
    "#;

    #[test]
    fn every_region_of_the_repository_is_valid() {
        let regions = Regions::built_in();
        assert_eq!(regions.iter().count(), 18);
        let voters: Vec<String> =
            regions.iter().filter(|r| r.voter).map(|r| r.code.to_string()).collect();
        assert_eq!(voters, ["fra", "iad", "nrt"]);
        let mut names: Vec<_> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/regions"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.retain(|name| name.ends_with(".toml"));
        names.sort();
        assert_eq!(names, BUILT_IN.map(|(name, _)| name), "a file is missing in BUILT_IN");
    }

    #[test]
    fn a_wrong_file_is_refused_with_the_reason() {
        let cases = [
            (FRA.replace("fra", "ams"), "CODE.toml"),
            (FRA.replace("50.03", "91.0"), "globe"),
            (FRA.replace("\"DE\"", "\"de\""), "capital"),
            (FRA.replace("\"eu\"", "\"mars\""), "`geo`"),
            (FRA.replace("voter", "voters"), "voters"),
            (FRA.replace("voter = true", "voter = true\nrole = \"cache\""), "role"),
        ];
        for (text, why) in cases {
            let error = RegionFile::parse("fra.toml", &text).unwrap_err().to_string();
            assert!(error.starts_with("fra.toml: ") && error.contains(why), "{error}");
        }
    }

    #[test]
    fn voters_are_one_two_or_an_odd_number() {
        assert!(Regions::parse([("fra.toml", FRA)]).is_ok());
        let silent = FRA.replace("voter = true", "");
        assert!(Regions::parse([("fra.toml", silent.as_str())]).is_err());
        assert!(Regions::parse([]).is_err());
    }

    #[test]
    fn an_unknown_region_names_the_known_ones() {
        let regions = Regions::parse([("fra.toml", FRA)]).unwrap();
        let error = regions.find("ams".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("fra"), "{error}");
    }
}

//! `godwit storage create`: a bucket and an access key for it, in the form that a tool reads.

use clap::{Args, Subcommand, ValueEnum};

use super::client::{Client, Endpoint};
use super::error::{CliError, Exit};
use super::{Common, output};
use crate::admin::model;

#[derive(Subcommand)]
pub(super) enum Storage {
    /// Make a bucket and an access key that may read and write it
    Create(Create),
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  godwit storage create\n  godwit storage create --format rclone"
)]
pub(super) struct Create {
    /// Name of the bucket; one is made up without it
    name: Option<String>,
    /// How to print the settings
    #[arg(long, value_enum, default_value_t = Format::Env)]
    format: Format,
    #[command(flatten)]
    endpoint: Endpoint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Variables, one a line
    Env,
    /// One JSON object of the variables
    Json,
    /// A file for s3cmd (~/.s3cfg)
    S3cfg,
    /// A profile for the AWS command line and SDKs (~/.aws/config)
    Aws,
    /// A remote for rclone (rclone.conf)
    Rclone,
}

pub(super) fn run(common: &Common, command: Storage) -> Result<Exit, CliError> {
    let Storage::Create(create) = command;
    let client = Client::signed(&create.endpoint)?;
    let request = model::StorageRequest { name: create.name };
    let storage: model::Storage = client.post("storage", &request)?;
    let format = if common.json { Format::Json } else { create.format };
    output::line(render(format, &storage).trim_end());
    output::note(&format!("Your bucket ({}) is ready.", storage.bucket));
    Ok(Exit::Ok)
}

/// The five variables, in alphabetical order.
fn variables(storage: &model::Storage) -> [(&'static str, &str); 5] {
    [
        ("AWS_ACCESS_KEY_ID", &storage.access_key),
        ("AWS_ENDPOINT_URL_S3", &storage.endpoint),
        ("AWS_REGION", &storage.region),
        ("AWS_SECRET_ACCESS_KEY", &storage.secret_key),
        ("BUCKET_NAME", &storage.bucket),
    ]
}

fn render(format: Format, storage: &model::Storage) -> String {
    let model::Storage { access_key, secret_key, endpoint, region, .. } = storage;
    match format {
        Format::Env => {
            variables(storage).iter().map(|(name, value)| format!("{name}={value}\n")).collect()
        }
        Format::Json => {
            let map: serde_json::Map<_, _> = variables(storage)
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).into()))
                .collect();
            serde_json::Value::Object(map).to_string()
        }
        Format::S3cfg => s3cfg(storage),
        Format::Aws => format!(
            "[profile godwit]\naws_access_key_id = {access_key}\n\
             aws_secret_access_key = {secret_key}\nregion = {region}\n\
             endpoint_url = {endpoint}\ns3 =\n  addressing_style = path\n"
        ),
        Format::Rclone => format!(
            "[godwit]\ntype = s3\nprovider = Other\naccess_key_id = {access_key}\n\
             secret_access_key = {secret_key}\nendpoint = {endpoint}\nregion = {region}\n\
             force_path_style = true\n"
        ),
    }
}

/// s3cmd takes a host without a scheme, and a host pattern. An endpoint with a numeric address has
/// no names below it, so the bucket then goes into the path.
fn s3cfg(storage: &model::Storage) -> String {
    let (scheme, host) = storage.endpoint.split_once("://").unwrap_or(("https", &storage.endpoint));
    let host = host.trim_end_matches('/');
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let numeric = name.parse::<std::net::IpAddr>().is_ok() || name.starts_with('[');
    let bucket = if numeric { host.to_owned() } else { format!("%(bucket)s.{host}") };
    let https = if scheme == "https" { "True" } else { "False" };
    let model::Storage { access_key, secret_key, .. } = storage;
    format!(
        "[default]\naccess_key = {access_key}\nsecret_key = {secret_key}\nhost_base = {host}\n\
         host_bucket = {bucket}\nuse_https = {https}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(endpoint: &str) -> model::Storage {
        model::Storage {
            bucket: "polished-thunder-5646".to_owned(),
            endpoint: endpoint.to_owned(),
            region: "auto".to_owned(),
            access_key: "gid_1".to_owned(),
            secret_key: "gsec_2".to_owned(),
        }
    }

    #[test]
    fn the_environment_has_the_five_variables_and_nothing_else() {
        let text = render(Format::Env, &storage("http://localhost:9000"));
        assert_eq!(
            text,
            "AWS_ACCESS_KEY_ID=gid_1\nAWS_ENDPOINT_URL_S3=http://localhost:9000\n\
             AWS_REGION=auto\nAWS_SECRET_ACCESS_KEY=gsec_2\n\
             BUCKET_NAME=polished-thunder-5646\n"
        );
        let json: serde_json::Value =
            serde_json::from_str(&render(Format::Json, &storage("http://localhost:9000"))).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 5);
        assert_eq!(json["AWS_REGION"], "auto");
    }

    #[test]
    fn s3cmd_gets_the_bucket_as_host_name_where_there_are_names() {
        let text = render(Format::S3cfg, &storage("https://birds.fly.dev"));
        assert!(
            text.contains("host_bucket = %(bucket)s.birds.fly.dev\nuse_https = True"),
            "{text}"
        );
        let text = render(Format::S3cfg, &storage("http://127.0.0.1:9000"));
        assert!(text.contains("host_bucket = 127.0.0.1:9000\nuse_https = False"), "{text}");
    }
}

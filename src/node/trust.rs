//! Whom the node trusts when it is the client of somebody else: the system's certificates, or a
//! bundle that the operator names. No list of authorities is built in: it would age with the
//! program.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Where systems keep the certificates that they trust.
const TRUSTED: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// TLS for clients. Errors are for people.
pub(crate) fn client_config(stated: Option<&Path>) -> Result<ClientConfig, String> {
    let usual = || TRUSTED.iter().map(Path::new).find(|path| path.exists());
    let file = stated.or_else(usual).ok_or("no bundle of trusted certificates was found")?;
    let shown = file.display();
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| format!("{shown}: {error}"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| format!("{shown}: {error}"))?;
        roots.add(certificate).map_err(|error| format!("{shown}: {error}"))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

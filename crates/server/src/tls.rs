//! TLS, by rustls with ring's arithmetic.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::Error;
use crate::config::TlsFiles;

/// What makes a TLS connection of a socket.
///
/// # Errors
/// [`Error::Tls`]: a file that cannot be read, that is not PEM, or a key of another certificate.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, Error> {
    let fail = |path: &Path, problem: String| Error::Tls {
        path: path.to_owned(),
        problem,
    };
    let of_certificate =
        |error: &dyn std::fmt::Display| fail(&files.certificate, error.to_string());
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| of_certificate(&error))?;
    if chain.is_empty() {
        return Err(of_certificate(&"there is no certificate in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| fail(&files.key, error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| of_certificate(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| fail(&files.key, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

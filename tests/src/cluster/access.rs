//! Who may do what: certificates, tokens and kubeconfigs, made anew for each cluster.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use crate::programs::{command, succeed};
use crate::scratch::Scratch;

/// The node's name.
pub const NODE: &str = "node-1";

/// Files that let the parts of a cluster trust each other.
#[derive(Debug)]
pub(super) struct Access {
    /// The authority of the API server's certificate; pods get it as `ca.crt`.
    pub(super) authority: PathBuf,
    /// The API server's certificate and its key.
    pub(super) server: Pair,
    /// What the API server shows the kubelet, for logs and exec.
    pub(super) client: Pair,
    /// Signs the tokens of service accounts.
    pub(super) accounts: PathBuf,
    /// Tokens of the administrator and of the kubelet.
    pub(super) tokens: PathBuf,
    /// The administrator's kubeconfig.
    pub(super) admin: PathBuf,
    /// The kubelet's kubeconfig.
    pub(super) kubelet: PathBuf,
}

/// A certificate and its key.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Access {
    pub(super) fn new(files: &Scratch, port: u16) -> Result<Self> {
        let authority = pair(files, "authority");
        let mut openssl = command("openssl")?;
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=baton-tests"]);
        openssl.arg("-keyout").arg(&authority.key).arg("-out").arg(&authority.certificate);
        succeed(openssl, "openssl")?;
        let names = "subjectAltName=IP:127.0.0.1,IP:10.0.0.1,DNS:kubernetes,DNS:kubernetes.default.svc";
        let server = sign(files, &authority, "server", "/CN=kube-apiserver", names)?;
        let client = sign(files, &authority, "client", "/CN=kube-apiserver-kubelet", "extendedKeyUsage=clientAuth")?;
        let accounts = files.join("accounts.key");
        let mut openssl = command("openssl")?;
        openssl.args(["genrsa", "-out"]).arg(&accounts).arg("2048");
        succeed(openssl, "openssl")?;

        let (admin, kubelet) = (secret()?, secret()?);
        let tokens = format!("{admin},admin,admin,system:masters\n{kubelet},system:node:{NODE},node,system:nodes\n");
        let configuration = |name: &str, token: &str| {
            let certificate = &authority.certificate;
            let cluster = json!({"server": format!("https://127.0.0.1:{port}"), "certificate-authority": certificate});
            let config = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "test",
                "clusters": [{"name": "test", "cluster": cluster}],
                "users": [{"name": "test", "user": {"token": token}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            });
            files.write(name, config.to_string())
        };
        Ok(Self {
            admin: configuration("admin.kubeconfig", &admin)?,
            kubelet: configuration("kubelet.kubeconfig", &kubelet)?,
            tokens: files.write("tokens.csv", tokens)?,
            authority: authority.certificate,
            server,
            client,
            accounts,
        })
    }
}

fn pair(files: &Scratch, name: &str) -> Pair {
    Pair { certificate: files.join(&format!("{name}.crt")), key: files.join(&format!("{name}.key")) }
}

/// A certificate of this authority, with an extension.
fn sign(files: &Scratch, authority: &Pair, name: &str, subject: &str, extension: &str) -> Result<Pair> {
    let signed = pair(files, name);
    let request = files.join(&format!("{name}.csr"));
    let mut openssl = command("openssl")?;
    openssl.args(["req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout"]).arg(&signed.key);
    openssl.arg("-out").arg(&request);
    succeed(openssl, "openssl")?;
    let extensions = files.write(&format!("{name}.ext"), extension)?;
    let mut openssl = command("openssl")?;
    openssl.args(["x509", "-req", "-days", "2", "-CAcreateserial", "-in"]).arg(&request);
    openssl.arg("-CA").arg(&authority.certificate).arg("-CAkey").arg(&authority.key);
    openssl.arg("-extfile").arg(extensions).arg("-out").arg(&signed.certificate);
    succeed(openssl, "openssl")?;
    Ok(signed)
}

/// Nobody else on this machine may start privileged pods.
fn secret() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

//! An image as one file: an OCI image layout (image-spec 1.1) in a tar archive, as `ctr image import`, podman and skopeo
//! read it.

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{PROGRAM, tree::Tree};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Not compressed: the digest then does not depend on a compressor, and registries' clients compress by themselves.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The archive of an image with these files.
pub(super) fn archive(files: &Tree, name: &str) -> Result<Vec<u8>> {
    let mut layout = Tree::default();
    let layer = blob(&mut layout, LAYER, files.pack()?);
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": [format!("/{PROGRAM}")],
            // For `kubectl exec … -- baton doctor`.
            "Env": ["PATH=/usr/bin"],
        },
        // The digest of the layer before compression, which here is its digest.
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = blob(&mut layout, CONFIG, serde_json::to_vec(&config)?);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
        "annotations": {
            "org.opencontainers.image.title": "baton",
            "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.image.licenses": "Apache-2.0",
        },
    });
    let mut manifest = blob(&mut layout, MANIFEST, serde_json::to_vec(&manifest)?);
    manifest["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    manifest["annotations"] = json!({
        // What containerd calls the image. The second is the specification's, for all others.
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name,
    });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
    layout.add("index.json", serde_json::to_vec(&index)?);
    layout.add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    layout.pack()
}

/// Adds a blob to the layout and describes it.
fn blob(layout: &mut Tree, media_type: &str, bytes: Vec<u8>) -> Value {
    let (digest, size) = (sha256(&bytes), bytes.len());
    layout.add(&format!("blobs/sha256/{digest}"), bytes);
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
}

/// In hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// This machine's architecture, for which baton was built, as images name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

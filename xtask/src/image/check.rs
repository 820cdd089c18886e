//! Reads an image back, and starts baton in it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::PROGRAM;
use super::archive::sha256;
use crate::process;
use crate::scratch::Scratch;

/// The image's layer, if every size and digest on the way to it is true.
pub(super) fn layer(archive: &[u8]) -> Result<Vec<u8>> {
    let files = unpack(archive)?;
    ensure!(files.contains_key("oci-layout"), "the file oci-layout is missing");
    let index: Value = serde_json::from_slice(files.get("index.json").context("the file index.json is missing")?)?;
    let manifest: Value = serde_json::from_slice(blob(&files, &index["manifests"][0])?)?;
    let layer = blob(&files, &manifest["layers"][0])?;
    let config: Value = serde_json::from_slice(blob(&files, &manifest["config"])?)?;
    ensure!(config["rootfs"]["diff_ids"][0] == format!("sha256:{}", sha256(layer)), "the layer's diff_id is wrong");
    Ok(layer.clone())
}

/// Regular files by path.
fn unpack(archive: &[u8]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            files.insert(entry.path()?.to_string_lossy().into_owned(), bytes);
        }
    }
    Ok(files)
}

/// The blob that a descriptor describes.
fn blob<'f>(files: &'f BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Result<&'f Vec<u8>> {
    let digest = descriptor["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:"));
    let digest = digest.context("a descriptor has no SHA-256 digest")?;
    let bytes =
        files.get(&format!("blobs/sha256/{digest}")).with_context(|| format!("the blob {digest} is missing"))?;
    ensure!(descriptor["size"] == bytes.len(), "the size of the blob {digest} is not {}", descriptor["size"]);
    ensure!(sha256(bytes) == digest, "the blob {digest} has another digest");
    Ok(bytes)
}

/// What baton calls itself when it is started with nothing around it but the layer's files. For root.
pub(super) fn start(layer: &[u8]) -> Result<String> {
    let scratch = Scratch::new("image-root")?;
    let root = scratch.join("root");
    tar::Archive::new(layer).unpack(&root).context("failed to unpack the image's layer")?;
    let mut command = Command::new("chroot");
    command.arg(&root).arg(format!("/{PROGRAM}")).arg("--version");
    // Nothing of this machine's environment but what finds `chroot`.
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let printed = process::read(&mut command).context("baton does not start in its image; is a library missing?")?;
    Ok(printed.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::archive::archive;
    use super::super::tree::Tree;
    use super::*;

    fn image() -> Vec<u8> {
        let mut tree = Tree::default();
        tree.add(PROGRAM, b"a program".to_vec());
        tree.add("lib/libc.so.6", b"a library".to_vec());
        tree.add_directory("run/baton");
        archive(&tree, "localhost/baton:1").expect("packed")
    }

    #[test]
    fn digests_are_sha256() {
        // FIPS 180-4's example.
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn an_image_is_whole_and_always_the_same() {
        let image = image();
        assert_eq!(image, super::tests::image());
        let layer = layer(&image).expect("legal");
        let paths: Vec<String> = tar::Archive::new(&layer[..])
            .entries()
            .expect("an archive")
            .map(|entry| entry.and_then(|entry| Ok(entry.path()?.display().to_string())).expect("an entry"))
            .collect();
        assert_eq!(paths, ["lib/", "run/", "run/baton/", "usr/", "usr/bin/", "lib/libc.so.6", "usr/bin/baton"]);
        assert_eq!(unpack(&layer).expect("legal")[PROGRAM], b"a program");
    }

    #[test]
    fn the_index_tells_containerd_the_name() {
        let files = unpack(&image()).expect("legal");
        let index: Value = serde_json::from_slice(&files["index.json"]).expect("JSON");
        assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "localhost/baton:1");
        assert_eq!(files["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    }

    #[test]
    fn a_changed_byte_is_found() {
        let mut image = image();
        let place = image.windows(9).position(|bytes| bytes == b"a program").expect("in the layer");
        image[place] = b'A';
        assert!(layer(&image).is_err());
    }
}

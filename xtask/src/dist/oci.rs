//! A container image as an OCI image layout in a tar, made without a container engine.
//!
//! image-spec 1.1: `oci-layout`, `index.json`, and blobs by their SHA-256. `podman load`, `skopeo copy oci-archive:` and
//! `docker load` (25 or later) read it. No certificates are inside: the modems hold those of their brokers.

use std::path::Path;

use serde_json::{Value, json};

use super::archive::Tree;
use super::machine::Machine;
use super::sums::sha256;

/// The image's user and group; deploy/container has the same.
const USER: u64 = 10001;

const PASSWD: &str = "root:x:0:0:root:/:/nologin\n\
    modemfleet:x:10001:10001:modemfleet:/var/lib/modemfleet:/nologin\n";

/// 20 is Debian's group of serial ports.
const GROUP: &str = "root:x:0:\ndialout:x:20:modemfleet\nmodemfleet:x:10001:\n";

/// The files of the image's one layer.
///
/// # Errors
/// If the program cannot be read.
pub(super) fn files(program: &Path) -> anyhow::Result<Tree> {
    let mut tree = Tree::default();
    tree.copy("usr/bin/modemfleet", 0o755, program)?;
    tree.file("etc/passwd", 0o644, PASSWD.into());
    tree.file("etc/group", 0o644, GROUP.into());
    tree.folder("etc/modemfleet", 0o755, (0, 0));
    tree.folder("tmp", 0o1777, (0, 0));
    tree.folder("var/lib/modemfleet", 0o750, (USER, USER));
    Ok(tree)
}

/// A blob's descriptor.
fn descriptor(kind: &str, blob: &[u8]) -> Value {
    json!({
        "mediaType": format!("application/vnd.oci.image.{kind}"),
        "digest": format!("sha256:{}", sha256(blob)),
        "size": blob.len(),
    })
}

/// Packs these files as an image.
///
/// # Errors
/// If a path is too long for tar, or `created` is not a time.
pub(super) fn pack(
    files: &Tree,
    machine: Machine,
    version: &str,
    commit: &str,
    seconds: u64,
) -> anyhow::Result<Vec<u8>> {
    let created = jiff::Timestamp::from_second(i64::try_from(seconds)?)?.to_string();
    let plain = files.tar("", seconds)?;
    let layer = super::archive::gzip(&plain)?;
    let labels = json!({
        "org.opencontainers.image.title": "modemfleet",
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": commit,
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
    });
    let config = config(machine, &created, &sha256(&plain), &labels)?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &config),
        "layers": [descriptor("layer.v1.tar+gzip", &layer)],
        "annotations": labels,
    }))?;
    let mut named = descriptor("manifest.v1+json", &manifest);
    if let Some(named) = named.as_object_mut() {
        named.insert("platform".into(), platform(machine));
        let name = json!({
            "org.opencontainers.image.ref.name": format!("modemfleet:{version}"),
            "io.containerd.image.name": format!("docker.io/library/modemfleet:{version}"),
        });
        named.insert("annotations".into(), name);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [named],
    });
    let mut layout = Tree::default();
    layout.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    layout.file("index.json", 0o644, serde_json::to_vec(&index)?);
    for blob in [config, manifest, layer] {
        layout.file(&format!("blobs/sha256/{}", sha256(&blob)), 0o644, blob);
    }
    layout.tar("", seconds)
}

fn platform(machine: Machine) -> Value {
    match machine.oci() {
        (architecture, None) => json!({ "os": "linux", "architecture": architecture }),
        (architecture, Some(variant)) => {
            json!({ "os": "linux", "architecture": architecture, "variant": variant })
        }
    }
}

fn config(machine: Machine, created: &str, layer: &str, labels: &Value) -> anyhow::Result<Vec<u8>> {
    let mut config = json!({
        "created": created,
        "config": {
            "User": "10001:10001",
            "Entrypoint": ["/usr/bin/modemfleet"],
            "Cmd": ["run", "--config", "/etc/modemfleet/fleet.yaml"],
            "Env": ["PATH=/usr/bin"],
            "WorkingDir": "/",
            "Volumes": { "/var/lib/modemfleet": {} },
            "Labels": labels,
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
        "history": [{ "created": created, "created_by": "cargo xtask dist" }],
    });
    if let (Some(config), Value::Object(platform)) = (config.as_object_mut(), platform(machine)) {
        config.extend(platform);
    }
    Ok(serde_json::to_vec(&config)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn every_digest_of_the_layout_leads_to_a_blob_with_its_size() {
        let mut files = Tree::default();
        files.file("usr/bin/modemfleet", 0o755, vec![7; 100]);
        let packed = pack(&files, Machine::Armv7, "0.1.0", "abc", 1_700_000_000).unwrap();
        let mut blobs = BTreeMap::new();
        for entry in tar::Archive::new(&packed[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            blobs.insert(entry.path().unwrap().display().to_string(), content);
        }
        let read = |path: &str| -> Value { serde_json::from_slice(&blobs[path]).unwrap() };
        let blob = |it: &Value| {
            let path = format!("blobs/{}", it["digest"].as_str().unwrap().replace(':', "/"));
            assert_eq!(it["size"], blobs[&path].len(), "{path}");
            assert!(path.ends_with(&sha256(&blobs[&path])));
            path
        };
        let manifest = read(&blob(&read("index.json")["manifests"][0]));
        let config = read(&blob(&manifest["config"]));
        assert_eq!((&config["architecture"], &config["variant"]), (&json!("arm"), &json!("v7")));
        assert_eq!(config["created"], "2023-11-14T22:13:20Z");
        let mut plain = Vec::new();
        let layer = &blobs[&blob(&manifest["layers"][0])];
        flate2::read::GzDecoder::new(&layer[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&plain)));
        assert_eq!(read("oci-layout")["imageLayoutVersion"], "1.0.0");
    }
}

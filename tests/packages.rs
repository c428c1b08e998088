//! What `deploy/` gives to service managers, image builders and clusters, as far as it can be judged without them: units by
//! systemd's own analysis, the image by what goes into it.
//!
//! The Debian package is made, installed, tried and removed by `deploy/debian/check`, and manifests are held to the schemas of
//! Kubernetes by `deploy/check-manifests`; continuous integration runs both.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a command prints, which must succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error} (tests/run installs it)"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}{err}");
    out.into_owned()
}

/// The lines of a unit file that say something.
fn settings(unit: &str) -> Vec<String> {
    let text = read(&format!("deploy/systemd/{unit}"));
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn systemd_finds_the_units_right_and_the_services_hardly_exposed() {
    let mut check = Command::new(format!("{ROOT}/deploy/systemd/check"));
    let said = output(check.arg(env!("CARGO_BIN_EXE_syncseal")));
    // Each service with its figure, which is below 2.0, or the check had failed; the documentation has the same list.
    let services: Vec<&str> = said.lines().filter_map(|line| line.split_once(' ')).map(|(name, _)| name).collect();
    assert_eq!(services, ["syncseal-agent.service", "syncseal-gateway.service"]);
    let documented = read("deploy/README.md");
    for name in services {
        assert!(documented.contains(&format!("| `{name}` | ")), "{name}");
    }
}

#[test]
fn gateway_and_agent_are_hardened_alike() {
    let own = |line: &String| line.contains("gateway") || line.contains("agent");
    let [gateway, agent] = ["syncseal-gateway.service", "syncseal-agent.service"].map(settings);
    let common = |unit: &[String]| unit.iter().filter(|line| !own(line)).cloned().collect::<Vec<_>>();
    assert_eq!(common(&gateway), common(&agent));
    let renamed: Vec<String> = gateway.iter().map(|line| line.replace("gateway", "agent")).collect();
    assert_eq!(renamed, agent.iter().map(|line| line.replace("gateway", "agent")).collect::<Vec<_>>());
    for line in ["DynamicUser=yes", "ProtectSystem=strict", "MemoryDenyWriteExecute=yes", "Type=notify", "LimitCORE=0"]
    {
        assert!(gateway.iter().any(|found| found == line), "{line}");
    }
    assert!(gateway.contains(&"LoadCredential=gateway:/etc/syncseal/gateway".to_owned()));
}

/// What `COPY` takes from the repository into the image's first stage.
fn copied() -> Vec<String> {
    let text = read("deploy/Containerfile");
    let copies = text.lines().filter_map(|line| line.strip_prefix("COPY "));
    let sources = copies.filter(|line| !line.starts_with("--from")).flat_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words[..words.len() - 1].iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()
    });
    sources.collect()
}

#[test]
fn the_image_is_built_from_all_that_the_build_needs_and_nothing_else() {
    let ignored = read("deploy/Containerfile.dockerignore");
    let mut let_in: Vec<String> =
        ignored.lines().filter_map(|line| line.strip_prefix('!')).map(str::to_owned).collect();
    let mut copied = copied();
    let_in.sort();
    copied.sort();
    assert_eq!(let_in, copied);

    let image = tempfile::tempdir().unwrap();
    for path in &copied {
        let to = image.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let status = Command::new("cp").arg("-r").arg(Path::new(ROOT).join(path)).arg(&to).status().unwrap();
        assert!(status.success(), "{path}");
    }
    // Every target that Cargo.toml names is there,
    let manifest = image.path().join("Cargo.toml");
    let mut cargo = Command::new(env!("CARGO"));
    let metadata = output(
        cargo.args(["metadata", "--no-deps", "--offline", "--format-version=1", "--manifest-path"]).arg(manifest),
    );
    assert!(metadata.contains("\"name\":\"syncseal\""));
    // and every file that the program's sources include.
    let mut directories = vec![image.path().join("src")];
    let mut included = 0;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let of_tests = path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
            for file in text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                included += 1;
                assert!(of_tests || directory.join(file).exists(), "{}: {file}", path.display());
            }
        }
    }
    assert!(included > 0);
}

#[test]
fn the_image_takes_along_every_library_that_the_program_needs() {
    assert!(read("deploy/Containerfile").contains("$(ldd target/release/syncseal | grep -o '/[^ ]*')"));
    let said = output(Command::new("ldd").arg(env!("CARGO_BIN_EXE_syncseal")));
    let taken: Vec<&str> = said.split_whitespace().filter(|word| word.starts_with('/')).collect();
    let mut readelf = Command::new("readelf");
    let needed = output(readelf.args(["--dynamic", "--wide", env!("CARGO_BIN_EXE_syncseal")]));
    let needed: Vec<&str> = needed.lines().filter(|line| line.contains("(NEEDED)")).collect();
    assert!(!needed.is_empty());
    for line in needed {
        let name = line.split(['[', ']']).nth(1).unwrap();
        assert!(
            taken.iter().any(|path| path.ends_with(&format!("/{name}")) && Path::new(path).exists()),
            "{line}: {said}"
        );
    }
}

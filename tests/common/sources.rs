//! The sources of the project, for tests that read them.

use std::fs;
use std::path::Path;

/// Calls `each` with every source below a folder.
pub(crate) fn sources(path: &Path, each: &mut impl FnMut(&Path, &str)) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| sources(&entry.unwrap().path(), each));
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        each(path, &fs::read_to_string(path).unwrap());
    }
}

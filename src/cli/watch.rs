//! Tells when a file changes that a policy is made from.
//!
//! What is watched are the directories that hold the files, and those of every symbolic link on the way to them: so it is
//! seen when an editor renames a new file over the old one, and when a link is swapped, as Kubernetes does with `..data`.
//! A notice of the system only says when to look; what has changed is told by looking. Where the system gives no notices,
//! the files are looked at every few seconds.

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use crate::policy::SECRET_SUFFIX;

/// Changes within this time of each other are one.
const QUIET: Duration = Duration::from_millis(100);
/// It is looked after so long, however restless it is.
const RESTLESS: Duration = Duration::from_secs(1);
/// Where the system gives no notices, the files are looked at so often.
const POLL: Duration = Duration::from_secs(5);
/// Symbolic links on the way to a file; of more, the system makes an error.
const MAX_LINKS: usize = 40;

/// Watches files, and the files of secrets in directories.
#[derive(Debug)]
pub(super) struct Watch {
    files: Vec<PathBuf>,
    seen: Vec<Looks>,
    notices: Option<Notices>,
}

/// How a file looks from outside; any change to it changes that. Those of secrets in a directory are a part of how it
/// looks.
#[derive(Debug, Default, PartialEq, Eq)]
struct Looks {
    identity: Option<Identity>,
    secrets: Vec<(PathBuf, Self)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    mode: u32,
    size: u64,
    /// Of the last change to what is in it, and to what is said of it: seconds and nanoseconds.
    times: [i64; 4],
}

impl Looks {
    fn of(path: &Path) -> Self {
        let Ok(metadata) = path.metadata() else { return Self::default() };
        let (device, inode, mode) = (metadata.dev(), metadata.ino(), metadata.mode());
        if !metadata.is_dir() {
            let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
            let identity = Some(Identity { device, inode, mode, size: metadata.size(), times });
            return Self { identity, secrets: Vec::new() };
        }
        let entries = path.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
        let mut secrets: Vec<_> =
            entries.filter(|path| is_secret(path)).map(|path| (path.clone(), Self::of(&path))).collect();
        secrets.sort_by(|a, b| a.0.cmp(&b.0));
        // Its own size and times change with files that mean nothing.
        Self { identity: Some(Identity { device, inode, mode, size: 0, times: [0; 4] }), secrets }
    }
}

fn is_secret(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(SECRET_SUFFIX.as_bytes())
}

impl Watch {
    /// Watches these files from here on.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let mut watch = Self { files, seen: Vec::new(), notices: None };
        watch.look();
        watch.notices = Notices::of(&watch.files);
        watch
    }

    /// Watches these files from here on. What has changed since the last look counts.
    pub(super) fn follow(&mut self, files: Vec<PathBuf>) {
        if files != self.files {
            let look = |file: &PathBuf| {
                let before = self.files.iter().position(|known| known == file).and_then(|at| self.seen.get_mut(at));
                before.map_or_else(|| Looks::of(file), std::mem::take)
            };
            self.seen = files.iter().map(look).collect();
            self.files = files;
        }
        // Also where the files are the same: links may lead elsewhere by now.
        self.notices = Notices::of(&self.files);
    }

    /// Watches these files, too.
    pub(super) fn follow_also(&mut self, files: Vec<PathBuf>) {
        let mut all = self.files.clone();
        all.extend(files.into_iter().filter(|file| !self.files.contains(file)));
        self.follow(all);
    }

    /// Remembers how everything looks now: it is about to be read.
    pub(super) fn look(&mut self) {
        self.seen = self.files.iter().map(|file| Looks::of(file)).collect();
    }

    /// Waits until something looks otherwise than it did, and has come to rest.
    pub(super) async fn changed(&self) {
        loop {
            match &self.notices {
                Some(notices) => notices.next().await,
                None => sleep(POLL).await,
            }
            let mut looks = self.files.iter().map(|file| Looks::of(file)).zip(&self.seen);
            if looks.any(|(now, before)| now != *before) {
                return;
            }
        }
    }
}

/// The system's notices of changes.
#[derive(Debug)]
struct Notices {
    bell: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl Notices {
    /// Notices about these files; `None`, after a warning, if there are none to be had for all of them.
    fn of(files: &[PathBuf]) -> Option<Self> {
        let mut places = BTreeSet::new();
        let mut directories = BTreeSet::new();
        for file in files {
            let way = way(file);
            if let Some(end) = way.last().filter(|end| end.is_dir()) {
                directories.insert(end.clone());
            }
            places.extend(way);
        }
        let parents: BTreeSet<_> = places.iter().filter_map(|place| place.parent()).map(Path::to_owned).collect();
        let bell = Arc::new(Notify::new());
        let ringer = Arc::clone(&bell);
        let within = directories.clone();
        let about_us = move |path: &PathBuf| {
            let is_in = |directory: &Path| within.contains(directory);
            places.contains(path) || (is_secret(path) && path.parent().is_some_and(is_in))
        };
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error says that notices may have been lost.
            if event
                .map_or(true, |event| event.need_rescan() || is_change(event.kind) && event.paths.iter().any(&about_us))
            {
                ringer.notify_one();
            }
        });
        // Something may have changed before the watch began.
        bell.notify_one();
        let watch = |mut watcher: RecommendedWatcher| {
            for directory in parents.union(&directories) {
                watcher.watch(directory, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        };
        match watcher.and_then(watch) {
            Ok(watcher) => Some(Self { bell, _watcher: watcher }),
            Err(error) => {
                warn!(%error, every = ?POLL, "the system gives no notices of changed files; they are looked at instead");
                None
            }
        }
    }

    /// Waits for a notice, and until there are no more for a while.
    async fn next(&self) {
        self.bell.notified().await;
        let latest = Instant::now() + RESTLESS;
        while Instant::now() < latest && timeout_at(Instant::now() + QUIET, self.bell.notified()).await.is_ok() {}
    }
}

fn is_change(kind: EventKind) -> bool {
    !kind.is_access() || kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}

/// The symbolic links on the way to a file, each under its real directory, and where the way ends.
fn way(file: &Path) -> Vec<PathBuf> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut way = Vec::new();
    let mut here = PathBuf::new();
    let mut ahead: VecDeque<PathBuf> = parts(&file).collect();
    while let Some(part) = ahead.pop_front() {
        if part == Path::new("..") {
            here.pop();
            continue;
        }
        let next = here.join(part);
        match next.read_link() {
            Ok(target) if way.len() < MAX_LINKS => {
                way.push(next);
                for part in parts(&target).rev() {
                    ahead.push_front(part);
                }
            }
            _ => here = next,
        }
    }
    way.push(here);
    way
}

/// The names in a path; a root is one, to which joining leads back.
fn parts(path: &Path) -> impl DoubleEndedIterator<Item = PathBuf> {
    path.components().filter(|part| *part != Component::CurDir).map(|part| Path::new(part.as_os_str()).to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// A directory of a real name, with a file `a` in it that is watched.
    fn watched() -> (TempDir, PathBuf, Watch) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let file = root.join("a");
        fs::write(&file, "1").unwrap();
        let watch = Watch::new(vec![file.clone()]);
        assert!(watch.notices.is_some());
        (dir, file, watch)
    }

    #[tokio::test]
    async fn a_file_that_is_written_renamed_over_or_removed_has_changed() {
        let (_dir, file, mut watch) = watched();
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(&file, "22").unwrap(),
            &|| {
                fs::write(file.with_extension("new"), "33").unwrap();
                fs::rename(file.with_extension("new"), &file).unwrap();
            },
            &|| fs::remove_file(&file).unwrap(),
            &|| fs::write(&file, "1").unwrap(),
        ];
        for change in changes {
            change();
            watch.changed().await;
            watch.look();
        }
    }

    #[tokio::test]
    async fn a_swapped_link_on_the_way_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for version in ["v1", "v2"] {
            fs::create_dir(root.join(version)).unwrap();
            fs::write(root.join(version).join("a"), version).unwrap();
        }
        symlink("v1", root.join("..data")).unwrap();
        symlink("..data/a", root.join("a")).unwrap();
        assert_eq!(way(&root.join("a")), [root.join("a"), root.join("..data"), root.join("v1/a")]);
        let watch = Watch::new(vec![root.join("a")]);
        symlink("v2", root.join("..new")).unwrap();
        fs::rename(root.join("..new"), root.join("..data")).unwrap();
        watch.changed().await;
    }

    #[tokio::test]
    async fn a_secret_that_comes_or_goes_in_a_directory_is_a_change_and_other_files_are_none() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let looks = Looks::of(&root);
        fs::write(root.join("notes"), "1").unwrap();
        assert_eq!(Looks::of(&root), looks);
        let mut watch = Watch::new(vec![root.clone()]);
        fs::write(root.join("phone.secret"), "1").unwrap();
        watch.changed().await;
        watch.look();
        fs::remove_file(root.join("phone.secret")).unwrap();
        watch.changed().await;
    }

    #[tokio::test(start_paused = true)]
    async fn without_notices_the_files_are_looked_at() {
        let (_dir, file, mut watch) = watched();
        watch.notices = None;
        fs::write(&file, "22").unwrap();
        watch.changed().await;
    }

    #[tokio::test]
    async fn what_changed_before_it_was_followed_is_not_missed() {
        let (_dir, file, mut watch) = watched();
        let other = file.with_extension("other");
        fs::write(&other, "1").unwrap();
        fs::write(&file, "22").unwrap();
        watch.follow(vec![other, file]);
        watch.changed().await;
    }

    #[test]
    fn links_in_a_circle_end_somewhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert_eq!(way(&root.join("a")).len(), MAX_LINKS + 1);
    }
}

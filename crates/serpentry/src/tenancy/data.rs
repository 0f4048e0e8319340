//! Where applications write: a directory each, `STATE/data/APP`, which is a file system of its own if `disk_space` is set.
//!
//! The path is the same in both tenancies, and so is what is in it: an application that is moved finds its data again, and
//! may write it although it is another user's process now. A volume that was made once is used from then on in both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use jail::Identity;
use jail::volume::{self, Owners, Request, Volume, own_tree};

use super::wants::{Unmet, Wants};
use crate::say;

/// The directories of all applications.
#[derive(Debug)]
pub(super) struct Data {
    state: PathBuf,
    /// Volumes that are mounted, by application, and how many places use each.
    volumes: BTreeMap<String, (usize, Volume)>,
    /// Applications whose files are all known to be their user's.
    owned: BTreeSet<String>,
}

/// A directory that a place uses.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) path: PathBuf,
    /// To be closed when the place is given back.
    pub(super) in_volume: bool,
}

impl Data {
    pub(super) fn new(state: PathBuf) -> Self {
        Data { state, volumes: BTreeMap::new(), owned: BTreeSet::new() }
    }

    pub(super) fn directory(&self, app: &str) -> PathBuf {
        self.state.join("data").join(app)
    }

    fn image(&self, app: &str) -> PathBuf {
        self.state.join("volumes").join(format!("{app}.img"))
    }

    /// Who the directory was given to last.
    pub(super) fn owner(&self, app: &str) -> Option<u32> {
        fs::symlink_metadata(self.directory(app)).ok().map(|data| data.uid())
    }

    /// Users that applications' directories belong to.
    pub(super) fn owners(&self) -> Vec<u32> {
        let entries = fs::read_dir(self.state.join("data")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.metadata().ok()).map(|data| data.uid()).collect()
    }

    /// The application's directory, ready to be written to by `identity`. `alone`: none of its workers runs elsewhere.
    ///
    /// # Errors
    /// Why it cannot be had: a sentence.
    pub(super) fn open(
        &mut self,
        wants: &Wants,
        identity: Option<&Identity>,
        alone: bool,
        unmet: &mut Vec<Unmet>,
    ) -> Result<Opened, String> {
        let path = self.directory(&wants.app);
        let problem =
            |error: io::Error| format!("cannot make its data directory {}: {error}", path.display());
        make(&self.state.join("data"), 0o711).map_err(problem)?;
        make(&path, 0o700).map_err(problem)?;
        // Before a volume hides it, so that it is known whose it is also when that is not mounted.
        if let Some(identity) = identity
            && !self.volumes.contains_key(&wants.app)
        {
            give(&path, identity).map_err(problem)?;
        }
        let in_volume = self.mount(wants, identity, alone, unmet)?;
        match identity {
            Some(identity) => self.own(&wants.app, identity),
            // Whatever it writes from now on is the host's.
            None => drop(self.owned.remove(&wants.app)),
        }
        Ok(Opened { path, in_volume })
    }

    /// A place of the application that was in its volume is given back.
    pub(super) fn close(&mut self, app: &str) {
        let Some((uses, _)) = self.volumes.get_mut(app) else { return };
        *uses -= 1;
        if *uses > 0 {
            return;
        }
        if let Some((_, volume)) = self.volumes.remove(app) {
            release(app, volume);
        }
    }

    pub(super) fn close_all(&mut self) {
        for (app, (_, volume)) in std::mem::take(&mut self.volumes) {
            release(&app, volume);
        }
    }

    /// Another user's worker of the application has ended: what it left is the application's all the same.
    pub(super) fn own(&mut self, app: &str, identity: &Identity) {
        if !self.owned.insert(app.to_owned()) {
            return;
        }
        let (path, owner) = (self.directory(app), (identity.uid, identity.gid));
        match own_tree(&path, owner, self.volumes.contains_key(app)) {
            Ok(0) => {}
            Ok(count) => {
                say::debug(format_args!("{app}: {count} of its files were given to user {}", owner.0));
            }
            Err(error) => say::warning(format_args!("{app}: some of its files are not its user's: {error}")),
        }
    }

    /// What is known of the owners of its files is known no more.
    pub(super) fn disown(&mut self, app: &str) {
        self.owned.remove(app);
    }

    /// Mount the application's volume, if it is to have one or has one already; whether it has.
    fn mount(
        &mut self,
        wants: &Wants,
        identity: Option<&Identity>,
        alone: bool,
        unmet: &mut Vec<Unmet>,
    ) -> Result<bool, String> {
        let app = &wants.app;
        let (image, mount_point) = (self.image(app), self.directory(app));
        let there = fs::symlink_metadata(&image).ok().map(|image| image.len());
        let Some(size) = wants.limits.disk_space.or(there) else { return Ok(false) };
        if let Some((uses, _)) = self.volumes.get_mut(app) {
            *uses += 1;
            return Ok(true);
        }
        if let Err(error) = volume::survey() {
            let missing = |remedy: &str| Unmet {
                constraint: "disk_space".to_owned(),
                why: error.to_string(),
                remedy: remedy.to_owned(),
                partly: false,
            };
            return match there {
                // Without its volume it would start without its data.
                Some(_) => Err(format!("its data is in the volume {}, but {error}", image.display())),
                None => {
                    unmet.push(missing("see `serpentry doctor`, or set disk_space = \"none\""));
                    Ok(false)
                }
            };
        }
        make(&self.state.join("volumes"), 0o700)
            .map_err(|error| format!("cannot make the directory of volumes: {error}"))?;
        let before = if there.is_none() { self.set_aside(app, alone)? } else { None };
        let owner = identity.map_or((0, 0), |identity| (identity.uid, identity.gid));
        let fill = before.as_deref().map(|before| (before, Owners::Kept));
        let request = Request { image: &image, size, mount_point: &mount_point, owner, fill };
        match Volume::prepare_with(&request, &mut |_| {}) {
            Ok(volume) => {
                tell(app, &volume, before.as_deref());
                self.volumes.insert(app.clone(), (1, volume));
                Ok(true)
            }
            Err(error) => {
                if let Some(before) = before {
                    // As it was: nothing of it is lost.
                    let _ = fs::remove_dir(&mount_point);
                    let _ = fs::rename(before, &mount_point);
                }
                Err(error.to_string())
            }
        }
    }

    /// What an application has written before it has a volume: renamed, to be copied into the volume. `None`: nothing.
    fn set_aside(&self, app: &str, alone: bool) -> Result<Option<PathBuf>, String> {
        let path = self.directory(app);
        let is_empty = fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
        if is_empty {
            return Ok(None);
        }
        if !alone {
            return Err(format!(
                "it has data in {} that is not in a volume, and cannot be copied into one while its workers write there: \
                 `serpentry stop {app}`, then move it, then `serpentry start {app}`; or set limits.disk_space = \"none\"",
                path.display()
            ));
        }
        let before = path.with_file_name(format!("{app}.before-volume"));
        if before.exists() {
            return Err(format!("{} is in the way: look what is in it, and remove it", before.display()));
        }
        let renamed = fs::rename(&path, &before).and_then(|()| make(&path, 0o700));
        renamed.map_err(|error| format!("cannot rename {}: {error}", path.display()))?;
        Ok(Some(before))
    }
}

fn tell(app: &str, volume: &Volume, before: Option<&Path>) {
    let report = volume.report();
    if let Some((aside, why)) = &report.set_aside {
        say::warning(format_args!(
            "{app}: it starts with an empty volume, because {why}; what there was is in {}",
            aside.display()
        ));
    }
    if let (Some(copied), Some(before)) = (&report.copied, before) {
        say::info(format_args!(
            "{app}: its {} files were copied into a volume of its own; the originals are in {} and can be removed",
            copied.files,
            before.display()
        ));
    }
    if let Some(bytes) = report.behind {
        say::warning(format_args!(
            "{app}: its volume stays at {} MiB until the host starts anew",
            bytes >> 20
        ));
    }
}

fn release(app: &str, volume: Volume) {
    match volume.release() {
        Ok(released) if released.lazily => {
            say::warning(format_args!("{app}: its volume was still in use when it was taken away"));
        }
        Ok(_) => {}
        Err(error) => say::warning(format_args!("{app}: its volume stays mounted: {error}")),
    }
}

fn make(path: &Path, mode: u32) -> io::Result<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Never through a link that an application put there.
fn give(directory: &Path, identity: &Identity) -> io::Result<()> {
    use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, open};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = open(directory, flags, Mode::empty())?;
    Ok(fchown(&opened, Some(Uid::from_raw(identity.uid)), Some(Gid::from_raw(identity.gid)))?)
}

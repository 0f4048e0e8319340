//! Which user an application's workers are: `user` of its configuration, or one without a name that nobody else has.

use super::data::Data;
use super::wants::{Unmet, Wants};

/// Whose processes its workers are: the one that is named, for isolated applications one of their own.
///
/// # Errors
/// A sentence.
pub(super) fn identity(
    wants: &Wants,
    data: Option<&Data>,
    unmet: &mut Vec<Unmet>,
) -> Result<Option<jail::Identity>, String> {
    let root = rustix::process::geteuid().is_root();
    if let Some(user) = &wants.user {
        let found =
            jail::identity::lookup(user).map_err(|error| format!("cannot read /etc/passwd: {error}"))?;
        let Some(found) = found else { return Err(format!("there is no user {user:?} in /etc/passwd")) };
        if !root && found.uid != rustix::process::geteuid().as_raw() {
            return Err(format!("to run as {user} the host must run as root"));
        }
        return Ok(root.then_some(found));
    }
    if !wants.is_isolated() {
        return Ok(None);
    }
    if !root {
        unmet.push(Unmet {
            constraint: "user".to_owned(),
            why: "only root can start processes of another user".to_owned(),
            remedy: "run the host as root".to_owned(),
            partly: false,
        });
        return Ok(None);
    }
    // Its files belong to it: it is looked up there first, so that it keeps its number over restarts.
    let owner = data.and_then(|data| data.owner(&wants.app));
    if let Some(uid) = owner.filter(|uid| jail::identity::DYNAMIC.contains(uid)) {
        return Ok(Some(jail::Identity { uid, gid: uid, groups: Vec::new() }));
    }
    let taken = data.map(Data::owners).unwrap_or_default();
    jail::identity::dynamic(&wants.app, |uid| taken.contains(&uid))
        .map(Some)
        .ok_or_else(|| "all users without a name are taken".to_owned())
}

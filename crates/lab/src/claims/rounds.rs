//! Running blocks of more than two conditions: in rounds, each of which has every condition once, in an order of its own and
//! with the same arrivals.

use std::time::Duration;

use crate::document::BlockKind;
use crate::experiment::{
    Arm, Block, Condition, Effort, Load, Noise, Purpose, Rate, Session, SessionError, spare,
};
use crate::host::AppPlan;

/// Requests, connections, threads and files of an application.
const ROOM: u32 = 4_096;
/// A block is at least so long, whatever the effort.
const SHORTEST: Duration = Duration::from_millis(200);

/// With room for many requests at a time. Already in the arm that all conditions here have, so that entering it changes nothing.
pub(super) fn roomy(app: AppPlan) -> AppPlan {
    app.set("tenancy", "shared")
        .limit("queue", ROOM)
        .limit("connections", ROOM)
        .limit("processes", ROOM)
        .limit("open_files", ROOM)
}

/// A condition without neighbours; `phase` tells blocks of the same arm apart.
pub(super) fn quiet(name: &str, app: &str, phase: &str, load: Load) -> Condition {
    let noise = Noise { name: phase.to_owned(), parts: Vec::new() };
    Condition { name: name.to_owned(), app: app.to_owned(), arm: Arm::FairShare, noise, load }
}

/// So many at a time, of one target.
pub(super) fn closed(target: &str, connections: u32) -> Load {
    Load::of(target, Rate::Closed(connections as usize))
}

/// Do something with blocks of this share of the session's usual length.
pub(super) fn shorter<'a, T>(
    session: &mut Session<'a>,
    share: f64,
    work: impl FnOnce(&mut Session<'a>) -> Result<T, SessionError>,
) -> Result<T, SessionError> {
    let usual = session.options.effort;
    let block = usual.block.mul_f64(share).max(SHORTEST);
    session.with_effort(usual.with_blocks(block, usual.discard.mul_f64(share)), work)
}

/// As many rounds as the effort has pairs; before them, rounds in which one condition runs twice: what comparing it with itself
/// shows. A round with a block that does not count is run again, as often as [`spare`] says. `seen` gets each block when it is in the
/// document.
pub(super) fn rounds(
    session: &mut Session<'_>,
    question: &str,
    conditions: &[Condition],
    mut seen: impl FnMut(&mut Session<'_>, &Block),
) -> Result<(), SessionError> {
    let Effort { pairs, control, .. } = session.options.effort;
    let mut spare = spare(pairs);
    let (mut done, mut number) = (0, 0);
    while done < control + pairs {
        session.progress.step(done, control + pairs, question);
        let seed = session.random.next_u64();
        let kind = if done < control { BlockKind::Control } else { BlockKind::Measured };
        let mut order: Vec<&Condition> = match kind {
            BlockKind::Control => vec![&conditions[done % conditions.len()]; 2],
            _ => conditions.iter().collect(),
        };
        session.random.shuffle(&mut order);
        let mut counts = true;
        for condition in order {
            let purpose = Purpose { kind, pair: Some(number), question: question.to_owned() };
            // Of a control there are two blocks, no more: they are each other's pair.
            let block = match kind {
                BlockKind::Control => session.block(condition, seed, &purpose)?,
                _ => session.sound_block(condition, seed, &purpose)?,
            };
            counts &= block.is_valid();
            seen(session, &block);
        }
        number += 1;
        if counts || spare == 0 {
            done += 1;
        } else {
            spare -= 1;
        }
    }
    session.progress.step(done, done, question);
    Ok(())
}

/// One block of each condition, for the picture.
pub(super) fn ladder(
    session: &mut Session<'_>,
    question: &str,
    conditions: &[Condition],
) -> Result<Vec<Block>, SessionError> {
    let mut blocks = Vec::new();
    for (number, condition) in conditions.iter().enumerate() {
        session.progress.step(number, conditions.len(), question);
        let seed = session.random.next_u64();
        let purpose = Purpose { kind: BlockKind::Ladder, pair: None, question: question.to_owned() };
        blocks.push(session.sound_block(condition, seed, &purpose)?);
    }
    Ok(blocks)
}

//! The disk as durable writes see it: one commit at a time. Writes that come during a commit wait for the next one and go
//! into it together, unless the disk does them one at a time.

/// Who waits: request and run.
type Writer = (u32, u32);

#[derive(Debug, Default)]
pub(super) struct Commits {
    waiting: Vec<Writer>,
    under_way: Vec<Writer>,
    one_at_a_time: bool,
}

impl Commits {
    pub(super) fn new(one_at_a_time: bool) -> Self {
        Commits { one_at_a_time, ..Commits::default() }
    }

    /// True if a commit begins.
    pub(super) fn write(&mut self, writer: Writer) -> bool {
        self.waiting.push(writer);
        self.begin()
    }

    /// Whoever is in the commit that is done now, into `done`. True if another begins.
    pub(super) fn commit(&mut self, done: &mut Vec<Writer>) -> bool {
        done.clear();
        std::mem::swap(done, &mut self.under_way);
        self.begin()
    }

    fn begin(&mut self) -> bool {
        if !self.under_way.is_empty() || self.waiting.is_empty() {
            return false;
        }
        if self.one_at_a_time {
            self.under_way.push(self.waiting.remove(0));
        } else {
            std::mem::swap(&mut self.waiting, &mut self.under_way);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_during_a_commit_share_the_next() {
        for (one_at_a_time, commits) in [(false, vec![1, 2]), (true, vec![1, 1, 1])] {
            let mut disk = Commits::new(one_at_a_time);
            assert!(disk.write((0, 0)) && !disk.write((1, 0)) && !disk.write((2, 0)));
            let (mut done, mut sizes) = (Vec::new(), Vec::new());
            loop {
                let more = disk.commit(&mut done);
                sizes.push(done.len());
                if !more {
                    break;
                }
            }
            assert_eq!(sizes, commits);
        }
    }
}

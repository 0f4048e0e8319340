//! The rules for the applications of one host instance, as data.
//!
//! All interfaces of an instance begin with the same letters, so the rules name no application and change only when the
//! host's ways out do.

use super::nft::{Chain, Hook, Match, Rule, Verdict};
use super::pool::Prefix;

/// An interface through which the outside is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WayOut {
    pub(super) index: u32,
    /// Forwarding is on for it because of us alone: it shall let through nothing but our applications' packets.
    pub(super) ours_only: bool,
}

/// Everything the rules depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rules {
    /// What the names of the instance's interfaces begin with.
    pub(super) tag: String,
    pub(super) ways_out: Vec<WayOut>,
    /// Networks outside that applications must not reach.
    pub(super) denied: Vec<Prefix>,
}

/// Before the usual filters (0), so that what we refuse is refused whatever they say. What we accept they still see.
const BEFORE_FILTERS: i32 = -10;
const REFUSE: &str = "refuse";
const NOTE: &str = "was-off-";

/// The chain, without rules, that notes in the table that forwarding was off for an interface before we switched it on.
pub(super) fn note(index: u32) -> Chain {
    Chain { name: format!("{NOTE}{index}"), hook: None, rules: Vec::new() }
}

/// The interface of such a chain.
pub(super) fn noted(chain: &str) -> Option<u32> {
    chain.strip_prefix(NOTE)?.parse().ok()
}

impl Rules {
    pub(super) fn chains(&self) -> Vec<Chain> {
        let filter = |name: &str, number, rules| Chain {
            name: name.to_owned(),
            hook: Some(Hook { kind: "filter", number, priority: BEFORE_FILTERS }),
            rules,
        };
        let mut chains = vec![
            Chain {
                name: REFUSE.to_owned(),
                hook: None,
                rules: vec![
                    rule(vec![Match::Tcp], Verdict::Reset, "refused at once, so that nothing waits"),
                    rule(vec![], Verdict::Unreachable, "refused at once, so that nothing waits"),
                ],
            },
            filter("input", 1, self.input()),
            filter("forward", 2, self.forward()),
            Chain {
                name: "postrouting".to_owned(),
                hook: Some(Hook { kind: "nat", number: 4, priority: 100 }),
                rules: self.postrouting(),
            },
        ];
        chains.extend(self.ways_out.iter().filter(|way| way.ours_only).map(|way| note(way.index)));
        chains
    }

    fn of_app(&self) -> Match {
        Match::FromNamed(self.tag.clone())
    }

    fn for_app(&self) -> Match {
        Match::ToNamed(self.tag.clone())
    }

    /// To the host's own addresses, all of them.
    fn input(&self) -> Vec<Rule> {
        vec![rule(vec![self.of_app()], Verdict::Goto(REFUSE), "applications do not reach the host")]
    }

    fn forward(&self) -> Vec<Rule> {
        let mut rules = vec![
            rule(vec![self.of_app(), Match::Ipv6], Verdict::Drop, "applications have no IPv6"),
            rule(
                vec![self.of_app(), Match::Established],
                Verdict::Accept,
                "of a connection that was allowed",
            ),
        ];
        for network in &self.denied {
            let matches = vec![self.of_app(), Match::Destination(*network)];
            rules.push(rule(matches, Verdict::Goto(REFUSE), "a network that applications must not reach"));
        }
        for way in &self.ways_out {
            let matches = vec![self.of_app(), Match::To(way.index)];
            rules.push(rule(matches, Verdict::Accept, "applications reach the outside"));
        }
        rules.push(rule(
            vec![self.of_app()],
            Verdict::Goto(REFUSE),
            "and nothing else: not each other, not containers",
        ));
        rules.push(rule(vec![self.for_app(), Match::Established], Verdict::Accept, "answers"));
        rules.push(rule(vec![self.for_app()], Verdict::Drop, "nobody connects to applications"));
        for way in self.ways_out.iter().filter(|way| way.ours_only) {
            let comment = "forwarding is on here for applications only, it was off before";
            rules.push(rule(vec![Match::From(way.index)], Verdict::Drop, comment));
        }
        rules
    }

    fn postrouting(&self) -> Vec<Rule> {
        let masquerade = |way: &WayOut| {
            rule(vec![self.of_app(), Match::To(way.index)], Verdict::Masquerade, "under the host's address")
        };
        self.ways_out.iter().map(masquerade).collect()
    }
}

fn rule(matches: Vec<Match>, verdict: Verdict, comment: &'static str) -> Rule {
    Rule { matches, verdict, comment }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_interface_that_we_opened_is_closed_for_others_and_noted() {
        let ways_out = vec![WayOut { index: 2, ours_only: true }, WayOut { index: 3, ours_only: false }];
        let rules = Rules { tag: "serp123456-".to_owned(), ways_out, denied: Vec::new() };
        let chains = rules.chains();
        let notes: Vec<u32> = chains.iter().filter_map(|chain| noted(&chain.name)).collect();
        assert_eq!(notes, [2]);
        let forward = chains.iter().find(|chain| chain.name == "forward").unwrap();
        let closed: Vec<_> =
            forward.rules.iter().filter(|rule| matches!(rule.matches[..], [Match::From(_)])).collect();
        assert_eq!(closed.len(), 1);
        assert_eq!((&closed[0].matches[..], closed[0].verdict), (&[Match::From(2)][..], Verdict::Drop));
    }

    #[test]
    fn everything_from_an_application_is_decided() {
        let rules = Rules { tag: "serp123456-".to_owned(), ways_out: Vec::new(), denied: Vec::new() };
        let last = rules.forward().into_iter().rfind(|rule| rule.matches[0] == rules.of_app()).unwrap();
        assert_eq!((last.matches.len(), last.verdict), (1, Verdict::Goto(REFUSE)));
    }
}

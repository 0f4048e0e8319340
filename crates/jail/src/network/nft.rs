//! nftables messages (`linux/netfilter/nf_tables.h`): tables, chains and rules, made from a few words of its language.
//!
//! A change is one batch: the kernel takes all of it or nothing, and no packet sees half of it.

use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;

use super::netlink::{self, APPEND, CREATE, DUMP, Message, Socket, attributes};
use super::pool::Prefix;

const SUBSYSTEM: u16 = 10;
const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const GETCHAIN: u16 = 4;
const NEWRULE: u16 = 6;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
/// IPv4 and IPv6 together.
const FAMILY_INET: u8 = 1;
/// The register that values are compared in.
const REGISTER: u32 = 1;
const ESTABLISHED_OR_RELATED: u32 = 0b110;

/// What a packet must be for a rule to apply to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// It came in through an interface whose name begins so.
    FromNamed(String),
    /// It goes out through an interface whose name begins so.
    ToNamed(String),
    /// It came in through this interface.
    From(u32),
    /// It goes out through this interface.
    To(u32),
    /// It is IPv6.
    Ipv6,
    /// It is IPv4 and goes to this network.
    Destination(Prefix),
    /// It belongs to a connection that exists, or to one that such a connection opened.
    Established,
    /// It is TCP.
    Tcp,
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Goto(&'static str),
    /// TCP: reset.
    Reset,
    /// ICMP: port unreachable.
    Unreachable,
    /// Its source becomes the host's address.
    Masquerade,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) matches: Vec<Match>,
    pub(super) verdict: Verdict,
    /// Shown by `nft list ruleset`.
    pub(super) comment: &'static str,
}

/// Where a chain is hooked in: type, hook number, priority. `nft` chains in the manual: nft(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hook {
    pub(super) kind: &'static str,
    pub(super) number: u32,
    pub(super) priority: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) name: String,
    pub(super) hook: Option<Hook>,
    pub(super) rules: Vec<Rule>,
}

/// The kernel's nftables in the calling thread's network namespace.
#[derive(Debug)]
pub(super) struct Nftables(Socket);

impl Nftables {
    pub(super) fn open() -> std::io::Result<Self> {
        Socket::open(Some(NETFILTER)).map(Nftables)
    }

    /// Replace the table, or make it.
    pub(super) fn replace(&mut self, table: &str, chains: &[Chain]) -> Result<(), Errno> {
        let mut batch = vec![new_table(table), delete_table(table), new_table(table)];
        // Chains first: rules refer to them.
        batch.extend(chains.iter().map(|chain| new_chain(table, chain)));
        for chain in chains {
            batch.extend(chain.rules.iter().map(|rule| new_rule(table, &chain.name, rule)));
        }
        self.batch(batch)
    }

    /// Remove the table, and in the same moment add a chain without rules to each of the `others`.
    pub(super) fn remove(&mut self, table: &str, others: &[(String, String)]) -> Result<(), Errno> {
        let mut batch = vec![new_table(table), delete_table(table)];
        for (table, name) in others {
            batch.push(new_chain(table, &Chain { name: name.clone(), hook: None, rules: Vec::new() }));
        }
        self.batch(batch)
    }

    fn batch(&mut self, mut messages: Vec<Message>) -> Result<(), Errno> {
        // struct nfgenmsg: family, version, res_id (2, network order): here the subsystem.
        let mark = |kind| Message::mark(kind, &[0, 0, 0, 10]);
        messages.insert(0, mark(BATCH_BEGIN));
        messages.push(mark(BATCH_END));
        self.0.requests(messages)
    }

    /// The tables of our family.
    pub(super) fn tables(&mut self) -> Result<Vec<String>, Errno> {
        self.0.dump(&message(GETTABLE, DUMP), |body| text_at(body, 1))
    }

    /// The chains of our family: table and name.
    pub(super) fn chains(&mut self) -> Result<Vec<(String, String)>, Errno> {
        self.0.dump(&message(GETCHAIN, DUMP), |body| Some((text_at(body, 1)?, text_at(body, 3)?)))
    }
}

fn text_at(body: &[u8], wanted: u16) -> Option<String> {
    let (_, value) = attributes(body.get(4..)?).find(|(kind, _)| *kind == wanted)?;
    netlink::as_text(value).map(ToOwned::to_owned)
}

fn message(kind: u16, flags: u16) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags, &[FAMILY_INET, 0, 0, 0])
}

fn new_table(table: &str) -> Message {
    let mut message = message(NEWTABLE, CREATE);
    message.text(1, table);
    message
}

fn delete_table(table: &str) -> Message {
    let mut message = message(DELTABLE, 0);
    message.text(1, table);
    message
}

fn new_chain(table: &str, chain: &Chain) -> Message {
    let mut message = message(NEWCHAIN, CREATE);
    message.text(1, table).text(3, &chain.name);
    if let Some(hook) = chain.hook {
        message.nested(4, |inner| {
            inner.big(1, hook.number).big(2, hook.priority.cast_unsigned());
        });
        // What no rule decides goes on its way.
        message.big(5, 1).text(7, hook.kind);
    }
    message
}

fn new_rule(table: &str, chain: &str, rule: &Rule) -> Message {
    let mut message = message(NEWRULE, CREATE | APPEND);
    message.text(1, table).text(2, chain);
    message.nested(4, |list| {
        for one in &rule.matches {
            one.encode(list);
        }
        rule.verdict.encode(list);
    });
    // libnftnl's user data: type 0 is a comment, then its length and the text with its zero.
    let mut data = vec![0, u8::try_from(rule.comment.len() + 1).unwrap_or(0)];
    data.extend(rule.comment.as_bytes());
    data.push(0);
    message.attribute(7, &data);
    message
}

/// One expression of a rule: its name and its attributes.
fn expression(list: &mut Message, name: &str, fill: impl FnOnce(&mut Message)) {
    list.nested(1, |element| {
        element.text(1, name).nested(2, fill);
    });
}

fn compare(list: &mut Message, value: &[u8]) {
    expression(list, "cmp", |cmp| {
        cmp.big(1, REGISTER).big(2, 0).nested(3, |data| {
            data.attribute(1, value);
        });
    });
}

/// The register becomes itself and `mask`.
fn mask(list: &mut Message, mask: [u8; 4]) {
    expression(list, "bitwise", |bitwise| {
        bitwise.big(1, REGISTER).big(2, REGISTER).big(3, 4);
        bitwise.nested(4, |data| {
            data.attribute(1, &mask);
        });
        bitwise.nested(5, |data| {
            data.attribute(1, &[0; 4]);
        });
    });
}

/// Load what is known of the packet (`NFT_META_*`).
fn meta(list: &mut Message, key: u32) {
    expression(list, "meta", |meta| {
        meta.big(1, REGISTER).big(2, key);
    });
}

impl Match {
    fn encode(&self, list: &mut Message) {
        match self {
            // Comparing the first bytes only is how nftables does `iifname "name*"`.
            Match::FromNamed(name) => {
                meta(list, 6);
                compare(list, name.as_bytes());
            }
            Match::ToNamed(name) => {
                meta(list, 7);
                compare(list, name.as_bytes());
            }
            Match::From(index) => {
                meta(list, 4);
                compare(list, &index.to_ne_bytes());
            }
            Match::To(index) => {
                meta(list, 5);
                compare(list, &index.to_ne_bytes());
            }
            Match::Ipv6 => {
                meta(list, 15);
                compare(list, &[10]);
            }
            Match::Tcp => {
                meta(list, 16);
                compare(list, &[6]);
            }
            Match::Destination(prefix) => {
                meta(list, 15);
                compare(list, &[2]);
                // The network header, 4 bytes from the 16th: the destination (RFC 791).
                expression(list, "payload", |payload| {
                    payload.big(1, REGISTER).big(2, 1).big(3, 16).big(4, 4);
                });
                mask(list, prefix.mask().to_be_bytes());
                compare(list, &prefix.address().octets());
            }
            Match::Established => {
                expression(list, "ct", |ct| {
                    ct.big(1, REGISTER).big(2, 0);
                });
                mask(list, ESTABLISHED_OR_RELATED.to_ne_bytes());
                // Not equal to nothing.
                expression(list, "cmp", |cmp| {
                    cmp.big(1, REGISTER).big(2, 1).nested(3, |data| {
                        data.attribute(1, &[0; 4]);
                    });
                });
            }
        }
    }
}

impl Verdict {
    fn encode(self, list: &mut Message) {
        let immediate = |list: &mut Message, code: i32, chain: Option<&str>| {
            expression(list, "immediate", |immediate| {
                // Register 0 is the verdict.
                immediate.big(1, 0).nested(2, |data| {
                    data.nested(2, |verdict| {
                        verdict.big(1, code.cast_unsigned());
                        if let Some(chain) = chain {
                            verdict.text(2, chain);
                        }
                    });
                });
            });
        };
        match self {
            Verdict::Drop => immediate(list, 0, None),
            Verdict::Accept => immediate(list, 1, None),
            Verdict::Goto(chain) => immediate(list, -4, Some(chain)),
            Verdict::Reset => expression(list, "reject", |reject| {
                reject.big(1, 1);
            }),
            Verdict::Unreachable => expression(list, "reject", |reject| {
                reject.big(1, 2).attribute(2, &[1]);
            }),
            Verdict::Masquerade => expression(list, "masq", |_| {}),
        }
    }
}

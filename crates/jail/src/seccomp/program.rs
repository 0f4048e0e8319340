//! From the table to a filter program (kernel: networking/filter, "classic" BPF, over `struct seccomp_data`).
//!
//! ```text
//!  other convention?      -> ENOSYS
//!  number = conditional?  -> its argument decides
//!  number <= end of 1st range of equal answers? -> that answer, else the 2nd, ...
//! ```
//!
//! Numbers are searched one range after the other. That is of no weight: since Linux 5.11 the kernel works out beforehand
//! for which numbers a filter always allows, and does not run it for those.

use super::table::{ALLOWED, CONDITIONAL, Condition, Conditional, FORBIDDEN};
use crate::plan::SystemCalls;

/// `AUDIT_ARCH_*`, linux/audit.h
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xC000_00B7;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const CONVENTION: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const ARGUMENT_SIZE: u32 = 8;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

type Instruction = libc::sock_filter;

const fn statement(code: u32, k: u32) -> Instruction {
    // All codes are below 256.
    Instruction { code: code as u16, jt: 0, jf: 0, k }
}

/// Skip so many instructions if the comparison holds, or else.
const fn jump(code: u32, k: u32, holds: u8, fails: u8) -> Instruction {
    Instruction { code: (libc::BPF_JMP | code | libc::BPF_K) as u16, jt: holds, jf: fails, k }
}

const fn load(offset: u32) -> Instruction {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

const fn answer(value: u32) -> Instruction {
    statement(libc::BPF_RET | libc::BPF_K, value)
}

fn error(number: i32, how: SystemCalls) -> u32 {
    match how {
        SystemCalls::Enforce => libc::SECCOMP_RET_ERRNO | number.unsigned_abs(),
        SystemCalls::Log => libc::SECCOMP_RET_LOG,
    }
}

pub(super) fn compile(how: SystemCalls) -> Vec<Instruction> {
    let unknown = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let mut program = vec![
        load(CONVENTION),
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        answer(unknown),
        load(NUMBER),
        // x32 has the convention of 64 bits and this bit in its numbers. Also when only logging: it is not looked at below.
        jump(libc::BPF_JGE, 0x4000_0000, 0, 1),
        answer(unknown),
    ];
    for conditional in CONDITIONAL {
        let block = decide(conditional, how);
        program.push(jump(libc::BPF_JEQ, number(conditional.call), 0, length(&block)));
        program.extend(block);
    }
    for (end, value) in ranges(how) {
        match end {
            Some(end) => program.extend([jump(libc::BPF_JGT, end, 1, 0), answer(value)]),
            None => program.push(answer(value)),
        }
    }
    program
}

/// Ends with an answer.
fn decide(conditional: &Conditional, how: SystemCalls) -> Vec<Instruction> {
    // Little endian: the lower half comes first.
    let mut block = vec![load(FIRST_ARGUMENT + conditional.argument * ARGUMENT_SIZE)];
    let otherwise = error(conditional.otherwise, how);
    match conditional.condition {
        Condition::WithoutBits(bits) => {
            block.extend([jump(libc::BPF_JSET, bits, 0, 1), answer(otherwise), answer(ALLOW)]);
        }
        Condition::OneOf(values) => {
            for value in values {
                block.extend([jump(libc::BPF_JEQ, *value, 0, 1), answer(ALLOW)]);
            }
            block.push(answer(otherwise));
        }
        Condition::NoneOf(values) => {
            for value in values {
                block.extend([jump(libc::BPF_JEQ, *value, 0, 1), answer(otherwise)]);
            }
            block.push(answer(ALLOW));
        }
    }
    block
}

/// Ranges of numbers with the same answer, in order: the last number of each, `None` for the last range.
fn ranges(how: SystemCalls) -> Vec<(Option<u32>, u32)> {
    let unknown = error(libc::ENOSYS, how);
    let groups = [(ALLOWED, ALLOW), (FORBIDDEN, error(libc::EPERM, how))];
    let mut answers: Vec<(u32, u32)> = groups
        .iter()
        .flat_map(|(groups, value)| groups.iter().map(move |group| (group, value)))
        .flat_map(|(group, value)| group.calls.iter().map(move |call| (number(*call), *value)))
        .collect();
    answers.sort_unstable();
    let mut ranges: Vec<(Option<u32>, u32)> = Vec::new();
    let mut extend = |end: Option<u32>, value: u32| match ranges.last_mut() {
        Some((last, same)) if *same == value => *last = end,
        _ => ranges.push((end, value)),
    };
    let mut next = 0;
    for (call, value) in answers {
        if call > next {
            extend(Some(call - 1), unknown);
        }
        extend(Some(call), value);
        next = call + 1;
    }
    extend(None, unknown);
    ranges
}

fn number(call: libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

/// Blocks are a handful of instructions.
fn length(block: &[Instruction]) -> u8 {
    u8::try_from(block.len()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What the kernel would answer.
    fn run(program: &[Instruction], convention: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = vec![number, convention, 0, 0];
        for argument in arguments {
            data.extend([(argument & 0xFFFF_FFFF) as u32, (argument >> 32) as u32]);
        }
        let (mut at, mut register) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let code = u32::from(code);
            let (class, operation) = (code & 7, code & 0xF0);
            if class == libc::BPF_RET {
                return k;
            } else if class == libc::BPF_LD {
                register = data[k as usize / 4];
                continue;
            }
            let holds = match operation {
                libc::BPF_JEQ => register == k,
                libc::BPF_JGE => register >= k,
                libc::BPF_JGT => register > k,
                libc::BPF_JSET => register & k != 0,
                other => panic!("{other}"),
            };
            at += usize::from(if holds { jt } else { jf });
        }
    }

    fn enforced(call: libc::c_long, arguments: [u64; 6]) -> Result<(), i32> {
        let program = compile(SystemCalls::Enforce);
        match run(&program, ARCHITECTURE, number(call), arguments) {
            ALLOW => Ok(()),
            value if value & libc::SECCOMP_RET_ACTION_FULL == libc::SECCOMP_RET_ERRNO => {
                Err((value & libc::SECCOMP_RET_DATA) as i32)
            }
            other => panic!("{other:x}"),
        }
    }

    #[test]
    fn each_call_is_answered_as_the_table_says() {
        let mut known = BTreeSet::new();
        for (groups, expected) in [(ALLOWED, Ok(())), (FORBIDDEN, Err(libc::EPERM))] {
            for group in groups {
                assert!(!group.why.is_empty());
                for call in group.calls {
                    assert_eq!(enforced(*call, [u64::MAX; 6]), expected, "{call}: {}", group.why);
                    assert!(known.insert(*call), "{call} is in two groups, or twice in {}", group.why);
                }
            }
        }
        for conditional in CONDITIONAL {
            assert!(known.insert(conditional.call), "{}", conditional.why);
        }
        for call in (0..2000).filter(|call| !known.contains(call)) {
            assert_eq!(enforced(call, [0; 6]), Err(libc::ENOSYS), "{call}");
        }
    }

    #[test]
    fn arguments_decide() {
        let argument = |place: usize, value: u64| {
            let mut arguments = [0; 6];
            arguments[place] = value;
            arguments
        };
        let thread = 0x003d_0f00;
        assert_eq!(enforced(libc::SYS_clone, argument(0, thread)), Ok(()));
        for namespace in
            [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
        {
            assert_eq!(enforced(libc::SYS_clone, argument(0, thread | namespace)), Err(libc::EPERM));
        }
        for family in 0..64 {
            let expected = if [1, 2, 10, 16].contains(&family) { Ok(()) } else { Err(libc::EAFNOSUPPORT) };
            assert_eq!(enforced(libc::SYS_socket, argument(0, family)), expected, "{family}");
        }
        // The kernel looks at 32 bits only, and so must the filter.
        assert_eq!(enforced(libc::SYS_socket, argument(0, 1 << 40 | 17)), Err(libc::EAFNOSUPPORT));
        assert_eq!(enforced(libc::SYS_ioctl, argument(1, 1 << 40 | 0x5412)), Err(libc::EPERM));
        assert_eq!(enforced(libc::SYS_ioctl, argument(1, 0x5401)), Ok(()));
        assert_eq!(enforced(libc::SYS_personality, argument(0, 0xFFFF_FFFF)), Ok(()));
        assert_eq!(enforced(libc::SYS_personality, argument(0, 0x0004_0000)), Err(libc::EPERM));
    }

    #[test]
    fn there_is_one_convention() {
        let program = compile(SystemCalls::Enforce);
        let unknown = libc::SECCOMP_RET_ERRNO | 38;
        for call in [0, 1, 39, 59, u32::MAX] {
            assert_eq!(run(&program, 0x4000_0003, call, [0; 6]), unknown, "32 bits");
            assert_eq!(run(&program, ARCHITECTURE, call | 0x4000_0000, [0; 6]), unknown, "x32");
        }
    }

    #[test]
    fn logging_forbids_nothing() {
        let program = compile(SystemCalls::Log);
        for call in [libc::SYS_mount, libc::SYS_clone3, libc::SYS_ptrace] {
            assert_eq!(run(&program, ARCHITECTURE, number(call), [0; 6]), libc::SECCOMP_RET_LOG);
        }
        assert_eq!(run(&program, ARCHITECTURE, number(libc::SYS_clone), [1 << 28; 6]), libc::SECCOMP_RET_LOG);
        assert_eq!(run(&program, ARCHITECTURE, number(libc::SYS_read), [0; 6]), ALLOW);
    }

    /// The kernel takes 4096 instructions (`BPF_MAXINSNS`).
    #[test]
    fn the_program_is_small() {
        let instructions = compile(SystemCalls::Enforce).len();
        assert!((50..400).contains(&instructions), "{instructions}");
    }
}

//! From PTX's text to code. It reads what NVRTC writes, and stops at what it does not know.

use std::collections::HashMap;

use super::operations::operation;
use super::{Fragments, Instruction, Kernel, Mode, SPECIAL, Space, Step, Type};

/// The text of a kernel: its parameters and directives, and its body. `None` if there is none of that name.
pub fn entry<'a>(ptx: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let start = ptx.find(&format!(".entry {name}("))?;
    let text = &ptx[start..];
    let open = text.find('{')?;
    // A body ends with the first brace that stands at the beginning of a line.
    let end = open + text[open..].find("\n}")?;
    Some((&text[..open], &text[open + 1..end]))
}

/// The number behind a word of a header, such as `.maxntid`.
pub fn directive(header: &str, word: &str) -> Option<u32> {
    let rest = header.split_once(word)?.1;
    rest.split([',', '\n']).next()?.trim().parse().ok()
}

struct Parser<'a> {
    /// Registers by name; constants go by their text.
    numbers: HashMap<String, usize>,
    registers: Vec<u64>,
    /// Where shared variables begin, and where the last one ends.
    symbols: HashMap<&'a str, u64>,
    shared: usize,
    labels: HashMap<&'a str, usize>,
}

pub fn parse(ptx: &str, name: &str) -> Option<Kernel> {
    let (header, body) = entry(ptx, name)?;
    // Comments are gone, and lines mean nothing.
    let text: String = body.lines().flat_map(|line| [line.split("//").next().unwrap_or(""), "\n"]).collect();
    let mut parser = Parser {
        numbers: HashMap::new(),
        registers: vec![],
        symbols: HashMap::new(),
        shared: 0,
        labels: HashMap::new(),
    };
    for name in SPECIAL {
        parser.register(name);
    }
    let mut parameters = vec![];
    for parameter in header.split(".param .").skip(1) {
        let mut words = parameter.split([' ', ',', '\n']);
        let (kind, name) = (words.next()?, words.next()?);
        parser.register(name);
        parameters.push(Type::new(kind).bytes);
    }

    // A label names the statement behind it.
    let mut statements = vec![];
    for statement in text.split_inclusive([';', ':']).map(str::trim) {
        if let Some(label) = statement.strip_suffix(':') {
            parser.labels.insert(label, statements.len());
        } else if let Some(variable) = statement.strip_prefix(".shared .align ") {
            parser.variable(variable);
        } else if !statement.is_empty()
            && ![".reg", ".pragma", ".loc"].iter().any(|s| statement.starts_with(s))
        {
            statements.push(statement.trim_end_matches(';'));
        }
    }
    // What the launch adds lies behind all others.
    for variable in ptx.lines().filter_map(|line| line.trim().strip_prefix(".extern .shared .align ")) {
        parser.variable(variable);
    }
    let code = statements.into_iter().map(|statement| parser.instruction(statement)).collect();
    let bounds = directive(header, ".maxntid").unwrap_or(1024);
    Some(Kernel { parameters, bounds, code, registers: parser.registers, shared: parser.shared })
}

impl<'a> Parser<'a> {
    fn register(&mut self, name: &str) -> usize {
        self.holding(name, 0)
    }

    fn holding(&mut self, name: &str, value: u64) -> usize {
        *self.numbers.entry(name.to_string()).or_insert_with(|| {
            self.registers.push(value);
            self.registers.len() - 1
        })
    }

    /// `16 .b8 name[8448];`: an alignment, bytes, a name and how many. The launch's has no number.
    fn variable(&mut self, declaration: &'a str) {
        let wrong = || -> ! { panic!("{declaration}") };
        let parts: Vec<&str> = declaration.split([' ', '[', ']']).collect();
        let [alignment, ".b8", name, count, ..] = parts[..] else { wrong() };
        let alignment: usize = alignment.parse().unwrap_or_else(|_| wrong());
        self.shared = self.shared.next_multiple_of(alignment);
        self.symbols.insert(name, self.shared as u64);
        self.shared += count.parse::<usize>().unwrap_or(0);
    }

    /// A register: one that is named, or one that holds a constant.
    fn operand(&mut self, text: &str) -> usize {
        let hexadecimal =
            |digits| u64::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("operand {text}"));
        if text.starts_with('%') || self.numbers.contains_key(text) {
            self.register(text)
        } else if let Some(&address) = self.symbols.get(text) {
            self.holding(text, address)
        } else if let Some(digits) = text.strip_prefix("0f").or(text.strip_prefix("0d")) {
            self.holding(text, hexadecimal(digits))
        } else {
            let value: i64 = text.parse().unwrap_or_else(|_| panic!("operand {text}"));
            self.holding(text, value as u64)
        }
    }

    fn instruction(&mut self, statement: &str) -> Instruction {
        let (guard, statement) = match statement.strip_prefix('@') {
            Some(guarded) => {
                let (name, rest) =
                    guarded.split_once(char::is_whitespace).expect("an instruction behind a guard");
                let register = self.register(name.trim_start_matches('!'));
                (Some((register, !name.starts_with('!'))), rest.trim())
            }
            None => (None, statement),
        };
        let (opcode, rest) = statement.split_once(char::is_whitespace).unwrap_or((statement, ""));
        // A vector's members are as good as operands of their own.
        let operands: Vec<&str> =
            rest.split([',', '|', '{', '}']).map(str::trim).filter(|operand| !operand.is_empty()).collect();
        let (step, to, from) = self.step(opcode, &operands);
        Instruction { guard, step, to, from }
    }

    /// What it does, and the registers that it writes and reads.
    fn step(&mut self, opcode: &str, operands: &[&str]) -> (Step, Vec<usize>, Vec<usize>) {
        let parts: Vec<&str> = opcode.split('.').collect();
        let kind = parts[parts.len() - 1];
        match (parts[0], parts.get(1).copied().unwrap_or("")) {
            ("bra", _) => (Step::Branch(self.labels[operands[0]]), vec![], vec![]),
            ("ret", _) => (Step::Return, vec![], vec![]),
            ("bar", "sync") => {
                assert_eq!(operands, ["0"], "{opcode}: a barrier of its own");
                (Step::Barrier, vec![], vec![])
            }
            ("bar", "warp") => (Step::WarpBarrier, vec![], vec![self.operand(operands[0])]),
            ("shfl", "sync") => {
                let mode = match parts[2] {
                    "idx" => Mode::Index,
                    "bfly" => Mode::Xor,
                    "down" => Mode::Down,
                    "up" => Mode::Up,
                    other => panic!("shfl.sync.{other}"),
                };
                let (to, from) = operands.split_at(operands.len() - 4);
                let to = to.iter().map(|name| self.register(name)).collect();
                (Step::Shuffle(mode), to, from.iter().map(|name| self.operand(name)).collect())
            }
            ("mma", "sync") => {
                let fragments = match opcode.split_once("mma.sync.aligned.").map(|(_, what)| what) {
                    Some("m16n8k8.row.col.f32.tf32.tf32.f32") => Fragments::Tf32,
                    Some("m16n8k16.row.col.f32.bf16.bf16.f32") => Fragments::Bf16,
                    _ => panic!("{opcode}"),
                };
                let registers: Vec<usize> = operands.iter().map(|name| self.operand(name)).collect();
                (Step::Product(fragments), registers[..4].to_vec(), registers[4..].to_vec())
            }
            ("ld", "param") => {
                let extend: super::Compute = match (Type::new(kind).bytes, kind.starts_with('s')) {
                    (4, true) => |a, _, _, _| a as i32 as u64,
                    (4, false) | (8, _) => |a, _, _, _| a,
                    _ => panic!("{opcode}"),
                };
                let parameter = self.numbers[operands[1].trim_matches(['[', ']'])];
                (Step::Compute(extend, [parameter, 0, 0, 0]), vec![self.register(operands[0])], vec![])
            }
            ("ld" | "st", space) => {
                let space = match space {
                    "shared" => Space::Shared,
                    "global" => Space::Global,
                    other => panic!("{opcode}: memory called {other}"),
                };
                let is_address = |operand: &&str| operand.starts_with('[');
                let address = operands.iter().find(|operand| is_address(operand)).expect("an address");
                let address = address.trim_matches(['[', ']']);
                let (base, offset) = address.split_once('+').unwrap_or((address, "0"));
                let offset = offset.parse().unwrap_or_else(|_| panic!("address {address}"));
                let base = self.operand(base);
                let values = operands.iter().filter(|operand| !is_address(operand));
                let values: Vec<usize> = values.map(|name| self.operand(name)).collect();
                match parts[0] {
                    "ld" => (Step::Load(space, offset, Type::new(kind)), values, vec![base]),
                    _ => (Step::Store(space, offset, Type::new(kind)), vec![], [vec![base], values].concat()),
                }
            }
            _ => {
                let compute = operation(opcode).unwrap_or_else(|| {
                    panic!("{opcode} is not among the instructions that a kernel may have")
                });
                let mut from = [0; 4];
                for (from, name) in from.iter_mut().zip(&operands[1..]) {
                    *from = self.operand(name);
                }
                (Step::Compute(compute, from), vec![self.register(operands[0])], vec![])
            }
        }
    }
}

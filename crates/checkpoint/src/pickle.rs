//! The few instructions of Python's pickles that tensors are saved with, and nothing that runs.
//!
//! A pickle is a program; loading one in Python calls whatever it names. Here the only calls are
//! those that describe a tensor, and they are taken as descriptions: anything else is refused by
//! name before it could mean something.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Tuples within tuples go no deeper in a file of tensors.
const MAX_DEPTH: usize = 32;
/// The most values at once; a model of a million tensors needs fewer.
const MAX_STACK: usize = 1 << 24;

/// What a pickle builds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    None,
    Bool,
    Whole(i64),
    Text(Rc<str>),
    /// The values, and how deep tuples go in it.
    Tuple(Rc<[Value]>, usize),
    Dict(Rc<RefCell<Vec<(Value, Value)>>>),
    /// A function or class by its module and name.
    Global(Rc<str>),
    /// A stretch of numbers in a file of its own.
    Storage(Rc<Storage>),
    Tensor(Rc<Tensor>),
    /// What is there and not needed: lists, states.
    Ignored,
}

/// Numbers of one format.
#[derive(Debug)]
pub(crate) struct Storage {
    /// PyTorch's class, such as `FloatStorage`.
    pub(crate) class: String,
    /// The name of the file.
    pub(crate) key: String,
    /// How many numbers.
    pub(crate) count: usize,
}

/// A view of a storage.
#[derive(Debug)]
pub(crate) struct Tensor {
    pub(crate) storage: Rc<Storage>,
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    pub(crate) strides: Vec<usize>,
}

type Result<T> = std::result::Result<T, String>;

/// Runs a pickle and gives what it leaves: the names and tensors of the outermost dictionary.
pub(crate) fn tensors(bytes: &[u8]) -> Result<Vec<(String, Rc<Tensor>)>> {
    let mut machine = Machine {
        rest: bytes,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let Value::Dict(entries) = machine.run()? else {
        return Err("holds no dictionary of tensors".to_owned());
    };
    let entries = entries.borrow();
    let mut tensors = Vec::new();
    for (name, value) in entries.iter() {
        match (name, value) {
            (Value::Text(name), Value::Tensor(tensor)) => {
                tensors.push((name.to_string(), tensor.clone()));
            }
            (Value::Text(name), _) => {
                return Err(format!(
                    "holds {name:?}, which is no tensor: this is not a file of weights alone"
                ));
            }
            _ => return Err("holds an entry without a name".to_owned()),
        }
    }
    Ok(tensors)
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Value>,
    /// Where marks are on the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
}

impl<'a> Machine<'a> {
    fn run(&mut self) -> Result<Value> {
        loop {
            if self.stack.len() > MAX_STACK {
                return Err("is too deep".to_owned());
            }
            let code = self.take(1)?[0];
            match code {
                // PROTO
                0x80 => {
                    self.take(1)?;
                }
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'N' => self.stack.push(Value::None),
                0x88 | 0x89 => self.stack.push(Value::Bool),
                b'K' => {
                    let value = self.take(1)?[0];
                    self.stack.push(Value::Whole(value.into()));
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.array()?);
                    self.stack.push(Value::Whole(value.into()));
                }
                b'J' => {
                    let value = i32::from_le_bytes(self.array()?);
                    self.stack.push(Value::Whole(value.into()));
                }
                // LONG1
                0x8a => {
                    let value = self.long()?;
                    self.stack.push(Value::Whole(value));
                }
                b'X' => {
                    let length = u32::from_le_bytes(self.array()?) as usize;
                    let text = self.text(length)?;
                    self.stack.push(Value::Text(text.into()));
                }
                // SHORT_BINUNICODE
                0x8c => {
                    let length = self.take(1)?[0].into();
                    let text = self.text(length)?;
                    self.stack.push(Value::Text(text.into()));
                }
                b'c' => {
                    let name = format!("{}.{}", self.line()?, self.line()?);
                    self.stack.push(Value::Global(name.into()));
                }
                b'}' => self.stack.push(Value::Dict(Rc::default())),
                b']' => self.stack.push(Value::Ignored),
                b')' => self.stack.push(Value::Tuple(Rc::from([]), 1)),
                b't' => self.tuple_since_mark()?,
                0x85..=0x87 => {
                    let count = usize::from(code - 0x84);
                    let from = self.stack.len().checked_sub(count).ok_or_else(ended)?;
                    self.tuple(from)?;
                }
                // BINPUT, LONG_BINPUT
                b'q' => {
                    let place = self.take(1)?[0].into();
                    self.keep(place)?;
                }
                b'r' => {
                    let place = u32::from_le_bytes(self.array()?);
                    self.keep(place)?;
                }
                b'h' => {
                    let place = self.take(1)?[0].into();
                    self.fetch(place)?;
                }
                b'j' => {
                    let place = u32::from_le_bytes(self.array()?);
                    self.fetch(place)?;
                }
                b's' => {
                    let (value, name) = (self.pop()?, self.pop()?);
                    self.insert([(name, value)])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    let mut pairs = Vec::with_capacity(items.len() / 2);
                    let mut items = items.into_iter();
                    while let (Some(name), Some(value)) = (items.next(), items.next()) {
                        pairs.push((name, value));
                    }
                    self.insert(pairs)?;
                }
                // APPEND, APPENDS, BUILD: to what is not needed.
                b'a' | b'b' => {
                    self.pop()?;
                }
                b'e' => {
                    self.since_mark()?;
                }
                b'Q' => self.storage()?,
                b'R' => self.call()?,
                other => {
                    return Err(format!(
                        "has the instruction {other:#04x}, which no file of tensors needs"
                    ));
                }
            }
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(ended)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| ended())
    }

    fn long(&mut self) -> Result<i64> {
        let count = usize::from(self.take(1)?[0]);
        let bytes = self.take(count)?;
        if count > 8 {
            return Err("has a number beyond 64 bits".to_owned());
        }
        let fill = if bytes.last().is_some_and(|b| b & 0x80 != 0) {
            0xff
        } else {
            0
        };
        let mut whole = [fill; 8];
        whole[..count].copy_from_slice(bytes);
        Ok(i64::from_le_bytes(whole))
    }

    fn text(&mut self, length: usize) -> Result<&'a str> {
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| "has a name that is not UTF-8".to_owned())
    }

    /// Up to the end of a line.
    fn line(&mut self) -> Result<&'a str> {
        let length = self
            .rest
            .iter()
            .position(|&b| b == b'\n')
            .ok_or_else(ended)?;
        let line = self.text(length)?;
        self.take(1)?;
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value> {
        self.stack.pop().ok_or_else(ended)
    }

    fn since_mark(&mut self) -> Result<Vec<Value>> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or_else(ended)?))
    }

    fn tuple_since_mark(&mut self) -> Result<()> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        self.tuple(mark.ok_or_else(ended)?)
    }

    /// What stands from `from` on becomes one tuple.
    fn tuple(&mut self, from: usize) -> Result<()> {
        let items = self.stack.split_off(from);
        let depth = |item: &Value| match item {
            Value::Tuple(_, depth) => *depth,
            _ => 0,
        };
        let depth = 1 + items.iter().map(depth).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err("is too deep".to_owned());
        }
        self.stack.push(Value::Tuple(items.into(), depth));
        Ok(())
    }

    fn keep(&mut self, place: u32) -> Result<()> {
        let top = self.stack.last().ok_or_else(ended)?.clone();
        self.memo.insert(place, top);
        Ok(())
    }

    fn fetch(&mut self, place: u32) -> Result<()> {
        let value = self.memo.get(&place).ok_or_else(ended)?.clone();
        self.stack.push(value);
        Ok(())
    }

    /// Entries for the dictionary on top of the stack. One that would hold another, or itself, is
    /// none of weights.
    fn insert(&mut self, pairs: impl IntoIterator<Item = (Value, Value)>) -> Result<()> {
        match self.stack.last() {
            Some(Value::Dict(entries)) => {
                let mut entries = entries.borrow_mut();
                for (name, value) in pairs {
                    let value = match value {
                        Value::Dict(_) => Value::Ignored,
                        value => value,
                    };
                    entries.push((name, value));
                }
                Ok(())
            }
            Some(Value::Ignored) => Ok(()),
            _ => Err(ended()),
        }
    }

    /// `("storage", class, key, device, count)` stands for a storage.
    fn storage(&mut self) -> Result<()> {
        let Value::Tuple(parts, _) = self.pop()? else {
            return Err("refers to something that is no storage".to_owned());
        };
        let [
            Value::Text(kind),
            Value::Global(class),
            Value::Text(key),
            _,
            Value::Whole(count),
        ] = &*parts
        else {
            return Err("refers to something that is no storage".to_owned());
        };
        let class = class.strip_prefix("torch.").unwrap_or(class);
        if &**kind != "storage" || !class.ends_with("Storage") {
            return Err(format!("refers to a {class}, which is no storage"));
        }
        let storage = Storage {
            class: class.to_owned(),
            key: key.to_string(),
            count: whole(*count)?,
        };
        self.stack.push(Value::Storage(Rc::new(storage)));
        Ok(())
    }

    /// The calls that describe tensors.
    fn call(&mut self) -> Result<()> {
        let (Value::Tuple(given, _), Value::Global(name)) = (self.pop()?, self.pop()?) else {
            return Err("calls something that is no function".to_owned());
        };
        let made = match (&*name, &*given) {
            ("collections.OrderedDict", []) => Value::Dict(Rc::default()),
            (
                "torch._utils._rebuild_tensor_v2",
                [
                    Value::Storage(storage),
                    Value::Whole(offset),
                    Value::Tuple(shape, _),
                    Value::Tuple(strides, _),
                    ..,
                ],
            ) => {
                let sizes = |values: &[Value]| {
                    let size = |value: &Value| match value {
                        Value::Whole(size) => whole(*size),
                        _ => Err("has a tensor whose sizes are no numbers".to_owned()),
                    };
                    values.iter().map(size).collect::<Result<Vec<usize>>>()
                };
                Value::Tensor(Rc::new(Tensor {
                    storage: storage.clone(),
                    offset: whole(*offset)?,
                    shape: sizes(shape)?,
                    strides: sizes(strides)?,
                }))
            }
            ("torch._utils._rebuild_parameter", [tensor @ Value::Tensor(_), ..]) => tensor.clone(),
            (name, _) => {
                return Err(format!(
                    "calls {name}, which no file of tensors needs: it is not loaded, and nothing \
                     of it was run"
                ));
            }
        };
        self.stack.push(made);
        Ok(())
    }
}

fn ended() -> String {
    "is damaged: its pickle ends early or contradicts itself".to_owned()
}

fn whole(value: i64) -> Result<usize> {
    usize::try_from(value).map_err(|_| format!("has the size {value}"))
}

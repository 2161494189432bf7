//! A question in two steps: rows for an engine, then an answer from their numbers.
//!
//! Whoever serves many at once runs the rows of several questions together; the verbs of the tasks
//! run a question's own. Both make the same rows and read the same numbers, so both answer the same
//! to the bit.

use albert_engine::Engine;

use crate::rows::{Row, Wanted, run_each};
use crate::{Error, Result};

/// What becomes of a text that is longer than the model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongText {
    /// Its beginning is read; the answer says how much was left out, where it can.
    Cut,
    /// It is refused with [`Error::TooLong`].
    Refuse,
    /// It is read in windows.
    Windows,
}

impl LongText {
    /// Refuses a row of `length` pieces where only `most` are read and nothing may be left out.
    pub(crate) fn check(this: Option<Self>, length: usize, most: usize) -> Result<()> {
        match this {
            Some(Self::Refuse) if length > most => Err(Error::TooLong { length, most }),
            _ => Ok(()),
        }
    }
}

/// Text that was made into rows, and what makes an answer of their numbers.
pub struct Asked<A> {
    rows: Vec<Row>,
    wanted: Wanted,
    reader: Box<dyn Reader<A>>,
}

/// Takes the numbers of rows, in any order, and then answers.
trait Reader<A>: Send {
    fn take(&mut self, row: usize, numbers: Vec<f32>);
    fn answer(self: Box<Self>) -> Result<A>;
}

impl<A: 'static> Asked<A> {
    /// `each` keeps what matters of a row's numbers as soon as they come; `answer` has that of all
    /// rows.
    pub(crate) fn new<P: Send + 'static>(
        rows: Vec<Row>,
        wanted: Wanted,
        each: impl Fn(usize, Vec<f32>) -> P + Send + 'static,
        answer: impl FnOnce(Vec<P>) -> A + Send + 'static,
    ) -> Self {
        let parts = rows.iter().map(|_| None).collect();
        Self {
            rows,
            wanted,
            reader: Box::new(Parts {
                parts,
                each,
                answer,
            }),
        }
    }

    /// The same with an answer that was made of this one's.
    pub fn map<B: 'static>(self, then: impl FnOnce(A) -> B + Send + 'static) -> Asked<B> {
        Asked {
            rows: self.rows,
            wanted: self.wanted,
            reader: Box::new(Mapped {
                inner: self.reader,
                then,
            }),
        }
    }

    /// Several questions as one; they must want the same numbers of one model, as those of one task
    /// do. None if there is no question.
    pub fn all(questions: Vec<Self>) -> Option<Asked<Vec<A>>> {
        let wanted = questions.first()?.wanted;
        let mut rows = Vec::new();
        let mut ends = Vec::with_capacity(questions.len());
        let mut readers = Vec::with_capacity(questions.len());
        for question in questions {
            rows.extend(question.rows);
            ends.push(rows.len());
            readers.push(question.reader);
        }
        Some(Asked {
            rows,
            wanted,
            reader: Box::new(Several { ends, readers }),
        })
    }

    /// Which numbers of the rows are wanted.
    pub fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Pieces of the rows that were not handed over yet.
    pub fn tokens(&self) -> usize {
        self.rows.iter().map(|row| row.ids.len()).sum()
    }

    /// The rows, which are handed over; their numbers come back by [`Asked::take`] under the same
    /// index.
    pub fn take_rows(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }

    /// Takes a row's numbers, which [`run_rows`](crate::run_rows) made; an index beyond the rows is ignored.
    pub fn take(&mut self, row: usize, numbers: Vec<f32>) {
        self.reader.take(row, numbers);
    }

    /// The answer, once the numbers of all rows were taken.
    ///
    /// # Errors
    /// [`Error::Unanswered`] if those of a row were not.
    pub fn answer(self) -> Result<A> {
        self.reader.answer()
    }

    /// Runs the rows and answers.
    pub(crate) fn run(mut self, engine: &Engine) -> Result<A> {
        let rows = self.take_rows();
        let rows: Vec<&Row> = rows.iter().collect();
        run_each(engine, &rows, self.wanted, |row, numbers| {
            self.reader.take(row, numbers);
        })?;
        self.answer()
    }

    /// Answers each of a list of texts, their rows run together.
    pub(crate) fn run_all(questions: Vec<Self>, engine: &Engine) -> Result<Vec<A>> {
        match Self::all(questions) {
            Some(all) => all.run(engine),
            None => Ok(Vec::new()),
        }
    }
}

struct Parts<P, E, F> {
    parts: Vec<Option<P>>,
    each: E,
    answer: F,
}

impl<A, P: Send, E, F> Reader<A> for Parts<P, E, F>
where
    E: Fn(usize, Vec<f32>) -> P + Send,
    F: FnOnce(Vec<P>) -> A + Send,
{
    fn take(&mut self, row: usize, numbers: Vec<f32>) {
        if row < self.parts.len() {
            self.parts[row] = Some((self.each)(row, numbers));
        }
    }

    fn answer(self: Box<Self>) -> Result<A> {
        let parts = self.parts.into_iter().enumerate();
        let parts = parts.map(|(row, part)| part.ok_or(Error::Unanswered(row)));
        Ok((self.answer)(parts.collect::<Result<_>>()?))
    }
}

struct Mapped<A, F> {
    inner: Box<dyn Reader<A>>,
    then: F,
}

impl<A, B, F: FnOnce(A) -> B + Send> Reader<B> for Mapped<A, F> {
    fn take(&mut self, row: usize, numbers: Vec<f32>) {
        self.inner.take(row, numbers);
    }

    fn answer(self: Box<Self>) -> Result<B> {
        Ok((self.then)(self.inner.answer()?))
    }
}

struct Several<A> {
    /// The row behind each question's last.
    ends: Vec<usize>,
    readers: Vec<Box<dyn Reader<A>>>,
}

impl<A> Reader<Vec<A>> for Several<A> {
    fn take(&mut self, row: usize, numbers: Vec<f32>) {
        let question = self.ends.partition_point(|&end| end <= row);
        let start = match question {
            0 => 0,
            _ => self.ends[question - 1],
        };
        if let Some(reader) = self.readers.get_mut(question) {
            reader.take(row - start, numbers);
        }
    }

    fn answer(self: Box<Self>) -> Result<Vec<A>> {
        self.readers.into_iter().map(|r| r.answer()).collect()
    }
}

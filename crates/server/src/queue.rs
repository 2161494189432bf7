//! What waits to be computed, and what goes next: pure bookkeeping, without threads or clocks.
//!
//! Rows wait in lanes; those of one lane can go through an engine together. A batch takes from the
//! lane with the row whose turn is the oldest, and one row of each of its requests in turn, so that a
//! request of a thousand rows holds up no request of one. A row's turn counts as later than it is by a
//! multiple of what the row costs: short ones that came a little later need not wait for a long one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// So many requests whose next row is too long for a batch are looked past.
const MOST_PASSED: usize = 16;

/// A request, for [`Queue::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// What rows that go together cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// So much is enough.
    pub(crate) enough: usize,
    /// More than so much it must not be.
    pub(crate) most: usize,
}

/// Rows that go through an engine together.
pub(crate) struct Taken<L, R> {
    pub(crate) lane: L,
    pub(crate) rows: Vec<R>,
}

/// A request of which no row has left yet.
pub(crate) struct Whole<'a, R> {
    pub(crate) first: &'a R,
    pub(crate) rows: usize,
    pub(crate) cost: usize,
}

/// Rows of many requests. `L` says which go together, `R` is a row.
pub(crate) struct Queue<L, R> {
    lanes: Vec<Lane<L, R>>,
    cost: usize,
    most: usize,
    next: u64,
    /// Cost of all rows whose turn has come so far.
    come: u64,
}

struct Lane<L, R> {
    key: L,
    /// Never empty; by their turns.
    requests: Vec<Request<R>>,
}

/// When a turn came.
#[derive(Clone, Copy)]
struct Turn {
    /// In the order of all turns.
    number: u64,
    /// Cost of all rows whose turns came before.
    come: u64,
}

struct Request<R> {
    ticket: Ticket,
    /// Of the next of its rows.
    turn: Turn,
    /// Of its rows that wait.
    cost: usize,
    /// Of all its rows.
    whole: usize,
    /// How many those are.
    count: usize,
    /// Never empty; in the order in which they leave.
    rows: VecDeque<(usize, R)>,
}

impl<R> Request<R> {
    /// Where its next row stands, the lowest first: as if so many times its own cost had come before it
    /// that came after it.
    fn place(&self, yields: usize) -> (u64, u64) {
        let cost = self.rows.front().map_or(0, |row| row.0);
        let Turn { number, come } = self.turn;
        (come + (yields * cost) as u64, number)
    }

    /// What as many of its rows as another has cost, about.
    fn ahead_of(&self, rows: usize) -> usize {
        (self.whole * rows.min(self.count)).div_ceil(self.count)
    }

    /// It, while none of its rows has left.
    fn whole(&self) -> Option<Whole<'_, R>> {
        let (_, first) = self.rows.front()?;
        (self.rows.len() == self.count).then_some(Whole {
            first,
            rows: self.count,
            cost: self.whole,
        })
    }
}

impl<L: PartialEq + Clone, R> Queue<L, R> {
    /// A queue that takes no more requests once `most` is ahead of them ([`Queue::ahead`]).
    pub(crate) fn new(most: usize) -> Self {
        Self {
            lanes: Vec::new(),
            cost: 0,
            most,
            next: 0,
            come: 0,
        }
    }

    /// Cost of all rows that wait.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// Requests with rows that wait.
    #[cfg(test)]
    pub(crate) fn requests(&self) -> usize {
        self.lanes.iter().map(|lane| lane.requests.len()).sum()
    }

    /// What is computed before a request of so many rows is, about: they take turns with those of
    /// the others, so that each holds it up by no more than as many of its own. Those that wait count
    /// whole: where they leave early, others that came later take turns in their place.
    pub(crate) fn ahead(&self, rows: usize) -> usize {
        self.ahead_by_lane(rows).map(|(_, ahead)| ahead).sum()
    }

    /// The same, of each lane.
    pub(crate) fn ahead_by_lane(&self, rows: usize) -> impl Iterator<Item = (&L, usize)> {
        self.lanes.iter().map(move |lane| {
            let requests = lane.requests.iter();
            (
                &lane.key,
                requests.map(|request| request.ahead_of(rows)).sum(),
            )
        })
    }

    /// Adds a request's rows, each with its cost. One of any size is taken where not too much is
    /// ahead of it, and split; and however large it is, there is room for small ones behind it.
    ///
    /// # Errors
    /// The rows, where too much is ahead of them.
    pub(crate) fn push(
        &mut self,
        key: &L,
        rows: Vec<(usize, R)>,
    ) -> std::result::Result<Ticket, Vec<(usize, R)>> {
        let cost = rows.iter().map(|(cost, _)| cost).sum();
        if self.ahead(rows.len()) >= self.most {
            return Err(rows);
        }
        let turn = self.turn(rows.first().map_or(0, |row| row.0));
        let ticket = Ticket(turn.number);
        if rows.is_empty() {
            return Ok(ticket);
        }
        self.cost += cost;
        let request = Request {
            ticket,
            turn,
            cost,
            whole: cost,
            count: rows.len(),
            rows: rows.into(),
        };
        match self.lanes.iter_mut().find(|lane| lane.key == *key) {
            Some(lane) => lane.requests.push(request),
            None => self.lanes.push(Lane {
                key: key.clone(),
                requests: vec![request],
            }),
        }
        Ok(ticket)
    }

    /// The lane that is next, and what its rows cost.
    pub(crate) fn next_lane(&self, yields: usize) -> Option<(&L, usize)> {
        let lane = &self.lanes[self.first(yields)?];
        Some((&lane.key, lane.requests.iter().map(|r| r.cost).sum()))
    }

    /// Takes rows until they cost `enough`, and at most `most`, but at least one: the oldest, each of
    /// which lets shorter ones pass that came after it, until those cost `yields` times as much. Where
    /// one is too much for the batch, shorter ones behind it go with it.
    pub(crate) fn take(&mut self, budget: Budget, yields: usize) -> Option<Taken<L, R>> {
        let Budget { enough, most } = budget;
        let at = self.first(yields)?;
        let requests = self.lanes[at].requests.iter().enumerate();
        let places = requests.map(|(at, request)| Reverse((request.place(yields), at)));
        let mut places: BinaryHeap<_> = places.collect();
        let mut rows = Vec::new();
        let (mut cost, mut passed) = (0, 0);
        while passed < MOST_PASSED
            && (rows.is_empty() || cost < enough)
            && let Some(Reverse((_, own_at))) = places.pop()
        {
            let fits = |row: &mut (usize, R)| rows.is_empty() || cost + row.0 <= most;
            let request = &mut self.lanes[at].requests[own_at];
            let Some((own, row)) = request.rows.pop_front_if(fits) else {
                passed += 1;
                continue;
            };
            cost += own;
            request.cost -= own;
            rows.push(row);
            if let Some(&(next, _)) = request.rows.front() {
                let turn = self.turn(next);
                let request = &mut self.lanes[at].requests[own_at];
                request.turn = turn;
                places.push(Reverse((request.place(yields), own_at)));
            }
        }
        self.cost -= cost;
        let lane = &mut self.lanes[at];
        lane.requests.retain(|request| !request.rows.is_empty());
        lane.requests.sort_by_key(|request| request.turn.number);
        let lane = lane.key.clone();
        self.tidy();
        Some(Taken { lane, rows })
    }

    /// Drops the rows of a request that still wait; returns how many.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> usize {
        for lane in &mut self.lanes {
            let found = lane.requests.iter().position(|r| r.ticket == ticket);
            if let Some(request) = found.map(|at| lane.requests.remove(at)) {
                self.cost -= request.cost;
                self.tidy();
                return request.rows.len();
            }
        }
        0
    }

    /// Drops the requests that are `late`, of those of which no row has left yet: in each lane the
    /// oldest first, none that would make it more than `most` in all. Returns their rows.
    pub(crate) fn give_up(
        &mut self,
        most: usize,
        late: impl Fn(&L, Whole<'_, R>) -> bool,
    ) -> Vec<R> {
        let (mut dropped, mut more, cost) = (Vec::new(), most, &mut self.cost);
        for Lane { key, requests } in &mut self.lanes {
            requests.retain_mut(|request| {
                let whole = request.whole();
                let gone = whole.is_some_and(|whole| whole.cost <= more && late(key, whole));
                if gone {
                    more -= request.cost;
                    *cost -= request.cost;
                    dropped.extend(request.rows.drain(..).map(|(_, row)| row));
                }
                !gone
            });
        }
        self.tidy();
        dropped
    }

    /// The turn of a row that costs so much.
    fn turn(&mut self, cost: usize) -> Turn {
        let come = self.come;
        self.come += cost as u64;
        self.next += 1;
        let number = self.next;
        Turn { number, come }
    }

    /// The lane with the row that is first.
    fn first(&self, yields: usize) -> Option<usize> {
        let first = |at: &usize| {
            let requests = self.lanes[*at].requests.iter();
            requests.map(|request| request.place(yields)).min()
        };
        (0..self.lanes.len()).min_by_key(first)
    }

    fn tidy(&mut self) {
        self.lanes.retain(|lane| !lane.requests.is_empty());
    }
}

#[cfg(test)]
mod tests;

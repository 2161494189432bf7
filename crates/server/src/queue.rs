//! What waits to be computed, and what goes next: pure bookkeeping, without threads or clocks.
//!
//! Rows wait in lanes; those of one lane can go through an engine together. A batch takes from the
//! lane whose turn is the oldest, one row of each of its requests in turn, so that a request of a
//! thousand rows holds up no request of one.

use std::collections::VecDeque;

/// So many requests whose next row is too long for a batch are looked past.
const MOST_PASSED: usize = 16;

/// A request, for [`Queue::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// Rows that go through an engine together.
pub(crate) struct Taken<L, R> {
    pub(crate) lane: L,
    pub(crate) rows: Vec<R>,
}

/// What waits in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) requests: usize,
    /// Of all their rows.
    pub(crate) cost: usize,
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
}

struct Lane<L, R> {
    key: L,
    /// Never empty.
    requests: VecDeque<Request<R>>,
}

struct Request<R> {
    ticket: Ticket,
    /// When its turn came, in the order of all turns.
    turn: u64,
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
        let turn = self.turn();
        let ticket = Ticket(turn);
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
            Some(lane) => lane.requests.push_back(request),
            None => self.lanes.push(Lane {
                key: key.clone(),
                requests: [request].into(),
            }),
        }
        Ok(ticket)
    }

    /// The lane that is next, and what waits there.
    pub(crate) fn next_lane(&self) -> Option<(&L, Backlog)> {
        let Lane { key, requests } = &self.lanes[self.oldest()?];
        let cost = requests.iter().map(|request| request.cost).sum();
        let requests = requests.len();
        Some((key, Backlog { requests, cost }))
    }

    /// Takes rows that cost at most `budget` together, but at least one. Where one is too much, shorter
    /// ones that came a little later go with the batch; it is the first, or nearer to it, next time.
    pub(crate) fn take(&mut self, budget: usize) -> Option<Taken<L, R>> {
        let at = self.oldest()?;
        let mut rows = Vec::new();
        let (mut cost, mut passed) = (0, 0);
        while passed < MOST_PASSED
            && let Some(request) = self.lanes[at].requests.get_mut(passed)
        {
            let fits = |row: &mut (usize, R)| rows.is_empty() || cost + row.0 <= budget;
            let Some((own, row)) = request.rows.pop_front_if(fits) else {
                passed += 1;
                continue;
            };
            cost += own;
            request.cost -= own;
            rows.push(row);
            let turn = self.turn();
            let requests = &mut self.lanes[at].requests;
            if let Some(mut request) = requests.remove(passed)
                && !request.rows.is_empty()
            {
                request.turn = turn;
                requests.push_back(request);
            }
        }
        self.cost -= cost;
        let lane = self.lanes[at].key.clone();
        self.tidy();
        Some(Taken { lane, rows })
    }

    /// Drops the rows of a request that still wait; returns how many.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> usize {
        for lane in &mut self.lanes {
            let found = lane.requests.iter().position(|r| r.ticket == ticket);
            if let Some(request) = found.and_then(|at| lane.requests.remove(at)) {
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

    fn turn(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The lane whose first request waits longest.
    fn oldest(&self) -> Option<usize> {
        let turn = |at: &usize| self.lanes[*at].requests.front().map(|first| first.turn);
        (0..self.lanes.len()).min_by_key(turn)
    }

    fn tidy(&mut self) {
        self.lanes.retain(|lane| !lane.requests.is_empty());
    }
}

#[cfg(test)]
mod tests;

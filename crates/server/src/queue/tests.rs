//! The queue under a clock of its own: a batch takes as long as it costs.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;

/// Which request, which of its rows.
type Row = (usize, usize);

struct Request {
    lane: u8,
    ticket: Ticket,
    costs: Vec<usize>,
    /// Rows that left so far.
    left: usize,
    cancelled: bool,
    /// Until its first row left, what the rows cost that were the first of a batch though their turns
    /// came after its own.
    passed: usize,
    /// Requests that waited when it came.
    before: usize,
    /// Until its first row left, batches of which the first row's turn had come before its own.
    batches: usize,
    /// When the turn of the next of its rows came.
    turn: usize,
}

/// A server that computes a batch after the other, while requests come and go.
struct Simulation {
    random: ChaCha8Rng,
    queue: Queue<u8, Row>,
    most: usize,
    /// What rows let pass at most, in times of their own cost.
    yields: usize,
    turns: usize,
    requests: Vec<Request>,
    refused: usize,
    given_up: usize,
    waiting: BTreeSet<usize>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let most = random.random_range(1..5000);
        Self {
            queue: Queue::new(most),
            most,
            yields: random.random_range(0..8),
            turns: 0,
            random,
            requests: Vec::new(),
            refused: 0,
            given_up: 0,
            waiting: BTreeSet::new(),
        }
    }

    fn arrive(&mut self) {
        let count = match self.random.random_range(0..10) {
            0 => self.random.random_range(20..200),
            _ => self.random.random_range(1..4),
        };
        let costs: Vec<usize> = (0..count)
            .map(|_| self.random.random_range(1..=512))
            .collect();
        let lane = self.random.random_range(0..4);
        let number = self.requests.len();
        let rows = costs.iter().enumerate();
        let rows = rows.map(|(row, &cost)| (cost, (number, row))).collect();
        let ahead = self.waiting.iter().map(|number| {
            let costs = &self.requests[*number].costs;
            let mean = costs.iter().sum::<usize>() as f64 / costs.len() as f64;
            (mean * count.min(costs.len()) as f64).ceil() as usize
        });
        let ahead: usize = ahead.sum();
        // A mean that is no whole number may be rounded up once more.
        assert!(self.queue.ahead(count).abs_diff(ahead) <= self.waiting.len());
        let ahead = self.queue.ahead(count);
        let (full, before) = (ahead >= self.most, self.queue.requests());
        match self.queue.push(&lane, rows) {
            Err(rows) => {
                assert!(full, "refused while there was room");
                assert_eq!(rows.len(), count, "a refusal gives all rows back");
                self.refused += 1;
            }
            Ok(ticket) => {
                assert!(!full, "accepted while full");
                self.waiting.insert(number);
                self.turns += 1;
                self.requests.push(Request {
                    lane,
                    ticket,
                    costs,
                    left: 0,
                    cancelled: false,
                    passed: 0,
                    before,
                    batches: 0,
                    turn: self.turns,
                });
            }
        }
    }

    fn cancel(&mut self) {
        if self.requests.is_empty() {
            return;
        }
        let number = self.random.random_range(0..self.requests.len());
        let request = &mut self.requests[number];
        let remain = match request.cancelled {
            true => 0,
            false => request.costs.len() - request.left,
        };
        assert_eq!(self.queue.cancel(request.ticket), remain);
        request.cancelled = true;
        self.waiting.remove(&number);
    }

    /// Gives up some of those of which no row has left.
    fn give_up(&mut self) {
        let (every, offset) = (self.random.random_range(1..4), self.requests.len());
        let most = self.random.random_range(0..20_000);
        let late = |number: usize| (number + offset).is_multiple_of(every);
        let requests = &self.requests;
        let dropped = self.queue.give_up(most, |lane, whole| {
            let (number, row) = *whole.first;
            let request = &requests[number];
            assert_eq!((row, request.left), (0, 0), "a row of it has left");
            assert_eq!(*lane, request.lane);
            assert_eq!(whole.rows, request.costs.len());
            assert_eq!(whole.cost, request.costs.iter().sum::<usize>());
            late(number)
        });
        let mut more = most;
        for rows in dropped.chunk_by(|a, b| a.0 == b.0) {
            let number = rows[0].0;
            let all = (0..requests[number].costs.len()).map(|row| (number, row));
            assert!(rows.iter().copied().eq(all), "a part of a request");
            assert!(late(number) && self.waiting.remove(&number));
            let cost: usize = requests[number].costs.iter().sum();
            assert!(cost <= more, "more than there should be");
            more -= cost;
            self.given_up += 1;
        }
        for (number, _) in dropped {
            self.requests[number].cancelled = true;
        }
        // Whoever is late and stays would have been too much.
        for &number in &self.waiting {
            let request = &self.requests[number];
            let cost: usize = request.costs.iter().sum();
            assert!(!late(number) || request.left > 0 || cost > more);
        }
        self.check();
    }

    /// Computes a batch; returns how long that takes.
    fn compute(&mut self) -> usize {
        let enough = self.random.random_range(1..3000);
        let most = enough + self.random.random_range(0..enough);
        // In an overload nothing passes.
        let yields = match self.random.random_range(0..4) {
            0 => 0,
            _ => self.yields,
        };
        let next = self.queue.next_lane(yields);
        let next = next.map(|(lane, cost)| (*lane, cost));
        let Some(taken) = self.queue.take(Budget { enough, most }, yields) else {
            assert!(self.waiting.is_empty(), "rows wait, and none is taken");
            return 1;
        };
        let lane = (self.waiting.iter()).filter(|at| self.requests[**at].lane == taken.lane);
        let waits: usize = lane.map(|number| self.remain(*number)).sum();
        assert_eq!(next, Some((taken.lane, waits)));
        self.fair(taken.rows[0]);
        let mut cost = 0;
        for &(number, row) in &taken.rows {
            let request = &mut self.requests[number];
            assert_eq!(request.lane, taken.lane, "a batch of two lanes");
            assert!(!request.cancelled, "a row that was cancelled");
            assert_eq!(
                request.left, row,
                "a request's rows leave in order, each once"
            );
            cost += request.costs[row];
            request.left += 1;
            self.turns += 1;
            request.turn = self.turns;
            if request.left == request.costs.len() {
                self.waiting.remove(&number);
            }
        }
        let &(last, row) = taken.rows.last().unwrap();
        let alone = taken.rows.len() == 1;
        assert!(cost <= most || alone, "over the budget");
        let before = cost - self.requests[last].costs[row];
        assert!(before < enough, "more than enough");
        cost
    }

    /// Holds the first row of a batch against those that it comes before: whoever was there before has a
    /// turn first, and of what came later only so much passes.
    fn fair(&mut self, (first, row): Row) {
        let (turn, cost) = (self.requests[first].turn, self.requests[first].costs[row]);
        for &number in &self.waiting {
            let request = &mut self.requests[number];
            if request.left > 0 || number == first {
                continue;
            }
            if turn < request.turn {
                request.batches += 1;
                assert!(request.batches <= request.before, "starved by older ones");
            } else {
                let most = self.yields * request.costs[0];
                assert!(request.passed <= most, "more passed than may");
                request.passed += cost;
            }
        }
    }

    /// What a request's rows that wait cost.
    fn remain(&self, number: usize) -> usize {
        let request = &self.requests[number];
        request.costs[request.left..].iter().sum()
    }

    fn check(&self) {
        let remain = self.waiting.iter().map(|number| self.remain(*number));
        assert_eq!(self.queue.cost(), remain.sum::<usize>());
        assert_eq!(self.queue.requests(), self.waiting.len());
    }
}

#[test]
fn nothing_is_lost_reordered_or_starved_and_budgets_are_kept() {
    let (mut refused, mut given_up, mut served, mut cancelled) = (0, 0, 0, 0);
    for seed in 0..10_000 {
        let mut simulation = Simulation::new(seed);
        let (mut now, end) = (0, 20_000);
        let mut next_arrival = 0;
        while now < end {
            while next_arrival <= now {
                simulation.arrive();
                next_arrival += simulation.random.random_range(1..1500);
            }
            if simulation.random.random_range(0..8) == 0 {
                simulation.cancel();
            }
            if simulation.random.random_range(0..16) == 0 {
                simulation.give_up();
            }
            now += simulation.compute();
            simulation.check();
        }
        while simulation.queue.cost() > 0 {
            simulation.compute();
        }
        for request in &simulation.requests {
            assert!(request.cancelled || request.left == request.costs.len());
            served += usize::from(!request.cancelled);
            cancelled += usize::from(request.cancelled);
        }
        refused += simulation.refused;
        given_up += simulation.given_up;
    }
    // Each of them happened often, or nothing was tested.
    for often in [refused, given_up, served, cancelled - given_up] {
        assert!(often > 10_000);
    }
}

/// So much, and no more.
fn exactly(cost: usize) -> Budget {
    Budget {
        enough: cost,
        most: cost,
    }
}

#[test]
fn a_large_request_holds_up_no_small_one() {
    let mut queue = Queue::new(10_000);
    let large = (0..1000).map(|row| (8, (0, row))).collect();
    queue.push(&0, large).unwrap();
    queue.take(exactly(64), 6).unwrap();
    queue.push(&0, vec![(8, (1, 0))]).unwrap();
    let next = queue.take(exactly(64), 6).unwrap();
    assert!(next.rows.contains(&(1, 0)));
}

#[test]
fn behind_a_request_of_any_size_there_is_room_for_small_ones() {
    let mut queue = Queue::new(100);
    let rows = |number: usize, count| (0..count).map(|row| (8, (number, row))).collect();
    queue.push(&0, rows(0, 1000)).unwrap();
    assert!(queue.push(&0, rows(1, 1000)).is_err());
    for number in 2..14 {
        queue.push(&0, rows(number, 1)).unwrap();
    }
    // Now so many wait that another small one would wait too long.
    assert!(queue.push(&0, rows(14, 1)).is_err());
}

#[test]
fn shorter_rows_fill_a_batch_and_the_longer_one_is_next() {
    let mut queue = Queue::new(usize::MAX);
    for (number, cost) in [60, 50, 30, 20, 5].into_iter().enumerate() {
        queue.push(&0, vec![(cost, (number, 0))]).unwrap();
    }
    let numbers = |taken: Taken<i32, Row>| taken.rows.into_iter().map(|row| row.0);
    let batches: Vec<Vec<usize>> = std::iter::from_fn(|| queue.take(exactly(100), 0))
        .map(|taken| numbers(taken).collect())
        .collect();
    assert_eq!(batches, [vec![0, 2, 4], vec![1, 3]]);
}

#[test]
fn a_batch_ends_once_it_has_enough_and_may_have_a_little_more() {
    let mut queue = Queue::new(usize::MAX);
    for (number, cost) in [60, 70, 50, 10].into_iter().enumerate() {
        queue.push(&0, vec![(cost, number)]).unwrap();
    }
    let budget = Budget {
        enough: 100,
        most: 125,
    };
    // The second row would be too much, the third is a little more than enough.
    assert_eq!(queue.take(budget, 0).unwrap().rows, [0, 2]);
    assert_eq!(queue.take(budget, 0).unwrap().rows, [1, 3]);
}

#[test]
fn a_long_row_lets_shorter_ones_pass_but_not_for_ever() {
    // Of a long row and many short ones behind it, a batch each.
    let place = |yields| {
        let mut queue = Queue::new(usize::MAX);
        queue.push(&0, vec![(100, 0)]).unwrap();
        for number in 1..100 {
            queue.push(&0, vec![(10, number)]).unwrap();
        }
        let order = std::iter::from_fn(|| queue.take(exactly(1), yields));
        let mut order = order.map(|taken| taken.rows[0]);
        order.position(|number| number == 0).unwrap()
    };
    assert_eq!(place(0), 0);
    // The last that passes: 100 of the long row and 160 of short ones came before it, it lets 30 pass itself.
    assert_eq!(place(3), 17);
    assert_eq!(place(6), 44);
}

#[test]
fn lanes_take_turns() {
    let mut queue = Queue::new(usize::MAX);
    for lane in 0..3_u8 {
        let rows = (0..4).map(|row| (1, (usize::from(lane), row))).collect();
        queue.push(&lane, rows).unwrap();
    }
    let mut seen: BTreeMap<u8, usize> = BTreeMap::new();
    let mut order = Vec::new();
    while let Some(taken) = queue.take(exactly(2), 6) {
        *seen.entry(taken.lane).or_default() += taken.rows.len();
        order.push(taken.lane);
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    assert!(seen.values().all(|&rows| rows == 4));
}

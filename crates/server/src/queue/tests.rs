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
    /// Requests that waited when it came.
    before: usize,
    /// Batches since it came, until its first row left.
    batches: usize,
}

/// A server that computes a batch after the other, while requests come and go.
struct Simulation {
    random: ChaCha8Rng,
    queue: Queue<u8, Row>,
    most: usize,
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
                self.requests.push(Request {
                    lane,
                    ticket,
                    costs,
                    left: 0,
                    cancelled: false,
                    before,
                    batches: 0,
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
        let budget = self.random.random_range(1..3000);
        for number in &self.waiting {
            let request = &mut self.requests[*number];
            request.batches += usize::from(request.left == 0);
        }
        let next = self.queue.next_lane();
        let next = next.map(|(lane, backlog)| (*lane, backlog));
        let Some(taken) = self.queue.take(budget) else {
            assert!(self.waiting.is_empty(), "rows wait, and none is taken");
            return 1;
        };
        let lane = (self.waiting.iter()).filter(|at| self.requests[**at].lane == taken.lane);
        let costs: Vec<usize> = lane.map(|number| self.remain(*number)).collect();
        let (requests, cost) = (costs.len(), costs.iter().sum());
        assert_eq!(next, Some((taken.lane, Backlog { requests, cost })));
        let mut cost = 0;
        for &(number, row) in &taken.rows {
            let request = &mut self.requests[number];
            assert_eq!(request.lane, taken.lane, "a batch of two lanes");
            assert!(!request.cancelled, "a row that was cancelled");
            assert_eq!(
                request.left, row,
                "a request's rows leave in order, each once"
            );
            // Whoever was there before had a turn first, and a batch has at least one turn.
            if row == 0 {
                assert!(
                    request.batches <= request.before + 1,
                    "a request was starved"
                );
            }
            cost += request.costs[row];
            request.left += 1;
            if request.left == request.costs.len() {
                self.waiting.remove(&number);
            }
        }
        assert!(cost <= budget || taken.rows.len() == 1, "over the budget");
        cost
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

#[test]
fn a_large_request_holds_up_no_small_one() {
    let mut queue = Queue::new(10_000);
    let large = (0..1000).map(|row| (8, (0, row))).collect();
    queue.push(&0, large).unwrap();
    queue.take(64).unwrap();
    queue.push(&0, vec![(8, (1, 0))]).unwrap();
    let next = queue.take(64).unwrap();
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
    let batches: Vec<Vec<usize>> = std::iter::from_fn(|| queue.take(100))
        .map(|taken| numbers(taken).collect())
        .collect();
    assert_eq!(batches, [vec![0, 2, 4], vec![1, 3]]);
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
    while let Some(taken) = queue.take(2) {
        *seen.entry(taken.lane).or_default() += taken.rows.len();
        order.push(taken.lane);
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 2]);
    assert!(seen.values().all(|&rows| rows == 4));
}

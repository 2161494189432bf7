//! Prefix trees: of the pieces of a model, and of the candidates of a training.

/// The id of no piece and no node.
const NONE: u32 = u32::MAX;

/// A prefix tree over sequences of symbols (characters, or letters of a small alphabet), laid out
/// breadth first so that the children of a node are neighbours.
#[derive(Debug)]
pub(crate) struct Trie {
    /// Symbol on the edge into each node.
    labels: Vec<u32>,
    /// The value that ends at each node.
    values: Vec<u32>,
    /// First child of each node; the next node's first child ends the list.
    children: Vec<u32>,
    /// Direct tables for nodes with many children: node, then a row of `TABLE` entries.
    tables: Vec<u32>,
    /// Row in `tables` of each node that has one.
    table_of: Vec<u32>,
}

/// Symbols below this bound are looked up directly at crowded nodes: ASCII.
const TABLE: u32 = 128;
/// Children above which a node gets a table; below, a scan of one or two cache lines is as fast.
const CROWDED: u32 = 12;

impl Trie {
    /// The root's number.
    pub const ROOT: u32 = 0;

    /// Builds the tree from keys in ascending order, each with its value. Of equal keys the first
    /// wins; empty keys are passed over.
    pub fn new<K: AsRef<[u32]>>(keys: &[(K, u32)]) -> Self {
        let mut trie = Trie {
            labels: vec![NONE],
            values: vec![NONE],
            children: Vec::new(),
            tables: Vec::new(),
            table_of: Vec::new(),
        };
        let mut level = vec![(0, keys.len())];
        let mut depth = 0;
        while !level.is_empty() {
            let mut next = Vec::new();
            for (mut from, to) in level {
                trie.children.push(trie.labels.len() as u32);
                while from < to && keys[from].0.as_ref().len() <= depth {
                    from += 1;
                }
                while from < to {
                    let label = keys[from].0.as_ref()[depth];
                    let end = from
                        + keys[from..to].partition_point(|(key, _)| key.as_ref()[depth] <= label);
                    let ends_here = keys[from].0.as_ref().len() == depth + 1;
                    trie.labels.push(label);
                    trie.values
                        .push(if ends_here { keys[from].1 } else { NONE });
                    next.push((from, end));
                    from = end;
                }
            }
            level = next;
            depth += 1;
        }
        trie.children.push(trie.labels.len() as u32);
        trie.add_tables();
        trie
    }

    fn add_tables(&mut self) {
        self.table_of = vec![NONE; self.labels.len()];
        for node in 0..self.labels.len() {
            let (from, to) = (self.children[node], self.children[node + 1]);
            if to - from <= CROWDED {
                continue;
            }
            let row = self.tables.len();
            self.table_of[node] = row as u32;
            self.tables.resize(row + TABLE as usize, NONE);
            for child in from..to {
                let label = self.labels[child as usize];
                if label < TABLE {
                    self.tables[row + label as usize] = child;
                }
            }
        }
    }

    /// The child of `node` along `symbol`.
    #[inline]
    pub fn child(&self, node: u32, symbol: u32) -> Option<u32> {
        let table = self.table_of[node as usize];
        let (from, to) = (
            self.children[node as usize] as usize,
            self.children[node as usize + 1] as usize,
        );
        if table == NONE {
            let at = self.labels[from..to]
                .iter()
                .position(|&label| label == symbol)?;
            Some((from + at) as u32)
        } else if symbol < TABLE {
            let child = self.tables[(table + symbol) as usize];
            (child != NONE).then_some(child)
        } else {
            let at = self.labels[from..to].binary_search(&symbol).ok()?;
            Some((from + at) as u32)
        }
    }

    /// The value that ends at `node`.
    #[inline]
    pub fn value(&self, node: u32) -> Option<u32> {
        let value = self.values[node as usize];
        (value != NONE).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(trie: &Trie, key: &[u32]) -> Option<u32> {
        let mut node = Trie::ROOT;
        for &symbol in key {
            node = trie.child(node, symbol)?;
        }
        trie.value(node)
    }

    #[test]
    fn finds_what_was_put_in_and_nothing_else() {
        // Crowded and sparse nodes, ASCII and beyond, keys that are prefixes of others.
        let mut keys: Vec<(Vec<u32>, u32)> = Vec::new();
        for a in (1..400).step_by(7) {
            keys.push((vec![a], a));
            for b in (90..90 + a % 40).step_by(3) {
                keys.push((vec![a, b], 1000 * a + b));
                keys.push((vec![a, b, 9600, a], 1_000_000 * a + b));
            }
        }
        keys.sort();
        let trie = Trie::new(&keys);
        for (key, value) in &keys {
            assert_eq!(lookup(&trie, key), Some(*value));
        }
        for missing in [
            &[][..],
            &[2],
            &[8, 9600],
            &[15, 93, 9600],
            &[15, 93, 9600, 16],
        ] {
            assert_eq!(lookup(&trie, missing), None, "{missing:?}");
        }
    }

    #[test]
    fn an_empty_tree_has_no_values() {
        let trie = Trie::new::<Vec<u32>>(&[]);
        assert_eq!(trie.child(Trie::ROOT, 1), None);
        assert_eq!(trie.value(Trie::ROOT), None);
    }
}

//! Classes against classes, as scikit-learn counts.

/// The share of guesses that are right; 0 of none.
pub fn accuracy(guesses: &[usize], labels: &[usize]) -> f64 {
    let right = guesses.iter().zip(labels).filter(|(a, b)| a == b).count();
    right as f64 / labels.len().max(1) as f64
}

/// How often each label `[row]` was guessed to be each class `[column]`.
///
/// # Panics
/// If a class is not below `classes`.
pub fn confusion(guesses: &[usize], labels: &[usize], classes: usize) -> Vec<Vec<usize>> {
    let mut table = vec![vec![0; classes]; classes];
    for (&guess, &label) in guesses.iter().zip(labels) {
        table[label][guess] += 1;
    }
    table
}

/// F1 of one class: scikit-learn's `f1_score(pos_label=class)`, 0 where the class neither comes
/// nor is guessed. GLUE scores MRPC and QQP by class 1.
pub fn f1_of_class(guesses: &[usize], labels: &[usize], class: usize) -> f64 {
    let pairs = || guesses.iter().zip(labels);
    let right = pairs()
        .filter(|(a, b)| **a == class && **b == class)
        .count();
    let either: usize = pairs()
        .map(|(a, b)| usize::from(*a == class) + usize::from(*b == class))
        .sum();
    ratio(2 * right, either)
}

/// The mean F1 of the classes that come or are guessed: scikit-learn's `average="macro"`.
///
/// # Panics
/// If a class is not below `classes`.
pub fn macro_f1(guesses: &[usize], labels: &[usize], classes: usize) -> f64 {
    // For each class: right guesses, guesses and labels.
    let mut counts = vec![(0, 0); classes];
    for (&guess, &label) in guesses.iter().zip(labels) {
        counts[guess].1 += 1;
        counts[label].1 += 1;
        counts[label].0 += usize::from(guess == label);
    }
    counts.retain(|&(_, either)| either > 0);
    let scores = counts
        .iter()
        .map(|&(right, either)| ratio(2 * right, either));
    scores.sum::<f64>() / counts.len().max(1) as f64
}

/// F1 over all classes of all rows together, where a row may have any of them: scikit-learn's
/// `average="micro"`.
pub fn micro_f1(guesses: &[Vec<bool>], labels: &[Vec<bool>]) -> f64 {
    let pairs = || guesses.iter().flatten().zip(labels.iter().flatten());
    let right = pairs().filter(|(a, b)| **a && **b).count();
    let either: usize = pairs()
        .map(|(a, b)| usize::from(*a) + usize::from(*b))
        .sum();
    ratio(2 * right, either)
}

/// The share of rows whose classes are all right: scikit-learn's `accuracy_score` of such rows.
pub fn subset_accuracy(guesses: &[Vec<bool>], labels: &[Vec<bool>]) -> f64 {
    let right = guesses.iter().zip(labels).filter(|(a, b)| a == b).count();
    right as f64 / labels.len().max(1) as f64
}

/// Matthews' correlation of two or more classes: scikit-learn's `matthews_corrcoef`, 0 where one
/// side is constant. GLUE scores CoLA by it.
pub fn matthews(guesses: &[usize], labels: &[usize], classes: usize) -> f64 {
    let table = confusion(guesses, labels, classes);
    let count = labels.len() as f64;
    let right: f64 = (0..classes).map(|class| table[class][class] as f64).sum();
    let of_labels: Vec<f64> = table
        .iter()
        .map(|row| row.iter().sum::<usize>() as f64)
        .collect();
    let of_guesses: Vec<f64> = (0..classes)
        .map(|class| table.iter().map(|row| row[class]).sum::<usize>() as f64)
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let both = right * count - dot(&of_labels, &of_guesses);
    let spread = (count * count - dot(&of_labels, &of_labels))
        * (count * count - dot(&of_guesses, &of_guesses));
    if spread == 0.0 {
        0.0
    } else {
        both / spread.sqrt()
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    match whole {
        0 => 0.0,
        whole => part as f64 / whole as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_table_by_hand() {
        let (guesses, labels) = ([1, 1, 0, 1], [1, 0, 0, 1]);
        assert_eq!(accuracy(&guesses, &labels), 0.75);
        assert_eq!(confusion(&guesses, &labels, 2), [[1, 1], [0, 2]]);
        assert_eq!(f1_of_class(&guesses, &labels, 1), 0.8);
        assert_eq!(macro_f1(&guesses, &labels, 3), (0.8 + 2.0 / 3.0) / 2.0);
        // (2*1 - 1*0) / sqrt(3*2*2*1)
        assert!((matthews(&guesses, &labels, 2) - 2.0 / 12.0_f64.sqrt()).abs() < 1e-15);
        assert_eq!(matthews(&[1, 1], &[1, 0], 2), 0.0);
        assert_eq!(f1_of_class(&[0], &[0], 1), 0.0);
    }
}

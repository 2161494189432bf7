//! Which output a label's name means.

/// The index of the label that a data set calls `name`: the one of this name, else the one of the
/// name in other case, else the one of this number where the name is one.
///
/// ```
/// use albert_tasks::label_id;
/// let labels = ["negative".to_owned(), "positive".to_owned()];
/// assert_eq!(label_id(&labels, "positive"), Some(1));
/// assert_eq!(label_id(&labels, "Negative"), Some(0));
/// assert_eq!(label_id(&labels, "1"), Some(1));
/// assert_eq!(label_id(&labels, "2"), None);
/// ```
pub fn label_id(labels: &[String], name: &str) -> Option<usize> {
    let exact = labels.iter().position(|label| label == name);
    let other_case = || {
        labels
            .iter()
            .position(|label| label.to_lowercase() == name.to_lowercase())
    };
    let number = || name.parse().ok().filter(|&id| id < labels.len());
    exact.or_else(other_case).or_else(number)
}

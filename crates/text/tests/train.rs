//! Learning a vocabulary: what it must hold, that it repeats, and what is refused.

mod common;

use albert_text::{Error, TrainProgress, UnigramOptions, train_unigram};

/// Sentences with enough different words for some dozens of pieces.
fn corpus() -> Vec<String> {
    let subjects = [
        "the reader",
        "a writer",
        "my neighbour",
        "their teacher",
        "the (old) captain",
    ];
    let verbs = ["reads", "finds", "carried", "was painting", "will remember"];
    let objects = [
        "the letter",
        "3.14 pounds",
        "2,000 books,",
        "an \"island\"",
        "cafés in Zürich",
    ];
    let mut lines = Vec::new();
    for subject in subjects {
        for verb in verbs {
            for object in objects {
                lines.push(format!("{subject} {verb} {object}."));
            }
        }
    }
    lines
}

fn options(vocab_size: usize) -> UnigramOptions {
    UnigramOptions {
        vocab_size,
        character_coverage: 1.0,
        ..Default::default()
    }
}

#[test]
fn a_vocabulary_has_the_size_the_specials_and_the_alphabet() {
    let mut stages = Vec::new();
    let tokenizer = train_unigram(corpus().into_iter(), &options(60), &mut |progress| {
        stages.push(match progress {
            TrainProgress::Reading { .. } => 0,
            TrainProgress::Counting { .. } => 1,
            TrainProgress::Seeding { .. } => 2,
            TrainProgress::Estimating { .. } => 3,
        });
    })
    .unwrap();
    assert!(stages.is_sorted() && stages.first() == Some(&0) && stages.last() == Some(&3));
    assert_eq!(tokenizer.vocab_size(), 60);
    for (id, piece) in ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(tokenizer.id_to_piece(id as u32), Some(piece));
    }
    for line in corpus() {
        let encoding = tokenizer.tokens(&line, true).unwrap();
        assert!(
            !encoding.ids.contains(&1),
            "{line}: {:?}",
            encoding.pieces()
        );
        // Words, numbers and marks are apart.
        for piece in encoding.pieces() {
            let kinds = [
                piece.chars().any(char::is_alphabetic),
                piece.chars().any(char::is_numeric),
                piece.chars().any(|c| c.is_ascii_punctuation()),
            ];
            assert!(kinds.iter().filter(|kind| **kind).count() <= 1, "{piece}");
        }
    }
    assert_eq!(
        tokenizer.decode(&tokenizer.tokens("The Captain", true).unwrap().ids),
        "the captain"
    );
}

#[test]
fn the_same_corpus_gives_the_same_file_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let tokenizer = pool
            .install(|| train_unigram(corpus().into_iter(), &options(58), &mut |_| ()))
            .unwrap();
        files.push(std::fs::read(tokenizer.save(folder.path()).unwrap()).unwrap());
    }
    assert!(files.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn frequent_words_become_pieces() {
    let tokenizer = train_unigram(corpus().into_iter(), &options(66), &mut |_| ()).unwrap();
    for piece in ["▁the", "▁reads", ".", ",", "▁2"] {
        assert!(tokenizer.piece_to_id(piece).is_some(), "{piece}");
    }
}

#[test]
fn what_cannot_be_learnt_is_refused() {
    let refused = |texts: Vec<String>, options: &UnigramOptions| {
        train_unigram(texts.into_iter(), options, &mut |_| ()).unwrap_err()
    };
    for texts in [vec![], vec![String::new(), " \n".into(), "\u{200b}".into()]] {
        assert!(matches!(refused(texts, &options(60)), Error::EmptyCorpus));
    }
    let small = refused(corpus(), &options(20));
    assert!(
        matches!(small, Error::VocabularyTooSmall { vocab_size: 20, .. }),
        "{small}"
    );
    let Error::VocabularyTooLarge {
        vocab_size: 5000,
        possible,
    } = refused(corpus(), &options(5000))
    else {
        panic!("a vocabulary too large")
    };
    // What it says is possible, is.
    let tokenizer = train_unigram(corpus().into_iter(), &options(possible), &mut |_| ()).unwrap();
    assert_eq!(tokenizer.vocab_size(), possible);
    for wrong in [
        UnigramOptions {
            character_coverage: 0.0,
            ..options(60)
        },
        UnigramOptions {
            character_coverage: f64::NAN,
            ..options(60)
        },
        UnigramOptions {
            shrinking_factor: 1.0,
            ..options(60)
        },
        UnigramOptions {
            sub_iterations: 0,
            ..options(60)
        },
        UnigramOptions {
            max_piece_length: 0,
            ..options(60)
        },
        UnigramOptions {
            max_bytes: 0,
            ..options(60)
        },
        UnigramOptions {
            vocab_size: usize::MAX,
            ..options(60)
        },
    ] {
        assert!(
            matches!(refused(corpus(), &wrong), Error::Option { .. }),
            "{wrong:?}"
        );
    }
}

#[test]
fn a_bounded_sample_still_gives_a_vocabulary() {
    let texts = (0..40).flat_map(|_| corpus());
    let options = UnigramOptions {
        max_bytes: 20_000,
        ..options(58)
    };
    assert_eq!(
        train_unigram(texts, &options, &mut |_| ())
            .unwrap()
            .vocab_size(),
        58
    );
}

//! Every format, well and badly formed.

use std::path::{Path, PathBuf};

use albert_data::{Columns, Dataset, Format, ReadOptions, TextExample, detect, read};

/// A file of this name and text in a folder that lives as long as the returned one.
fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

fn with(format: Format) -> ReadOptions {
    ReadOptions {
        format: Some(format),
        ..ReadOptions::default()
    }
}

/// What `read` says against a file, without the folder's name.
fn refusal(name: &str, text: &str, options: &ReadOptions) -> String {
    let (_dir, path) = file(name, text);
    let message = read(&path, options).unwrap_err().to_string();
    let shown = path.display().to_string();
    assert!(message.starts_with(&shown), "{message}");
    message[shown.len()..].to_owned()
}

fn example(line: usize, text: &str, pair: Option<&str>, label: &str) -> TextExample {
    TextExample {
        line,
        text: text.to_owned(),
        text_pair: pair.map(str::to_owned),
        labels: vec![label.to_owned()],
    }
}

fn classes(data: Dataset) -> Vec<TextExample> {
    match data {
        Dataset::Classes { examples, .. } => examples,
        other => panic!("{other:?}"),
    }
}

#[test]
fn glue_files_are_known_by_their_headers_and_quotes_are_characters() {
    let cases = [
        (
            Format::Sst2,
            "sentence\tlabel\na \"stray quote \t1\n",
            example(2, "a \"stray quote ", None, "1"),
        ),
        (
            Format::Cola,
            "gj04\t0\t*\tHim sleeps.\n",
            example(1, "Him sleeps.", None, "0"),
        ),
        (
            Format::Mrpc,
            "\u{feff}Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t7\t8\tA b.\tB a.\r\n",
            example(2, "A b.", Some("B a."), "1"),
        ),
        (
            Format::Rte,
            "index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\tentailment\n",
            example(2, "A.", Some("B."), "entailment"),
        ),
        (
            Format::Qnli,
            "index\tquestion\tsentence\tlabel\n0\tWho?\tB.\tnot_entailment\n",
            example(2, "Who?", Some("B."), "not_entailment"),
        ),
        (
            Format::Qqp,
            "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\tA?\tB?\t0\n",
            example(2, "A?", Some("B?"), "0"),
        ),
        (
            Format::Mnli,
            "index\tsentence1\tsentence2\tgold_label\n0\tA.\tB.\t-\n1\tA.\tC.\tneutral\n",
            example(3, "A.", Some("C."), "neutral"),
        ),
    ];
    for (format, text, expected) in cases {
        let (_dir, path) = file("dev.tsv", text);
        assert_eq!(detect(&path).unwrap(), format);
        let found = classes(read(&path, &ReadOptions::default()).unwrap());
        assert_eq!(found, [expected], "{format:?}");
    }
    // WNLI's files look like RTE's.
    let text = "index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\t1\n";
    let (_dir, path) = file("dev.tsv", text);
    let found = classes(read(&path, &with(Format::Wnli)).unwrap());
    assert_eq!(found, [example(2, "A.", Some("B."), "1")]);

    let text = "index\tgenre\tsentence1\tsentence2\tscore\n0\tx\tA.\tB.\t3.800\n";
    let (_dir, path) = file("dev.tsv", text);
    let Dataset::Scores(scores) = read(&path, &ReadOptions::default()).unwrap() else {
        panic!("STS-B has numbers");
    };
    assert_eq!((scores[0].score, scores[0].line), (3.8, 2));
    assert_eq!(scores[0].text_pair.as_deref(), Some("B."));
}

#[test]
fn bad_rows_of_glue_are_named_by_line_and_column() {
    let cases = [
        (
            "sentence\tlabel\nfine\t1\nno label here\n",
            Format::Sst2,
            ": line 3: has 1 columns, and the column `label` is missing",
        ),
        (
            "sentence\tlabel\nfine\t1\t2\n",
            Format::Sst2,
            ": line 2: has 3 columns; there are 2",
        ),
        (
            "text\tlabel\nfine\t1\n",
            Format::Sst2,
            ": has no column `sentence`; its columns are text, label",
        ),
        (
            "sentence1\tsentence2\tscore\na\tb\tnan\n",
            Format::Stsb,
            ": line 2: `score` is `nan`, which is no finite number",
        ),
        ("sentence\tlabel\n", Format::Sst2, ": has no examples"),
        ("", Format::Sst2, ": is empty"),
    ];
    for (text, format, expected) in cases {
        assert_eq!(refusal("dev.tsv", text, &with(format)), expected);
    }
}

#[test]
fn named_columns_are_found_or_named() {
    let jsonl = "{\"text_a\": \"A\", \"text_b\": \"B\", \"label\": \"x\"}\n\n{\"text_a\": \"C\", \"text_b\": \"D\", \"label\": 1}\n";
    let expected = [
        example(1, "A", Some("B"), "x"),
        example(3, "C", Some("D"), "1"),
    ];
    let (_dir, path) = file("own.jsonl", jsonl);
    assert_eq!(
        classes(read(&path, &ReadOptions::default()).unwrap()),
        expected
    );
    // A sample of one of GLUE's tasks.
    assert_eq!(classes(read(&path, &with(Format::Qnli)).unwrap()), expected);

    let (_dir, path) = file("own.csv", "id,body,kind\n1,\"a, \"\"b\"\"\nc\",x\n2,d,y\n");
    let options = ReadOptions {
        columns: Columns {
            text: Some("body".into()),
            label: Some("kind".into()),
            ..Columns::default()
        },
        ..ReadOptions::default()
    };
    let found = classes(read(&path, &options).unwrap());
    assert_eq!(
        found,
        [
            example(2, "a, \"b\"\nc", None, "x"),
            example(4, "d", None, "y")
        ]
    );

    let (_dir, path) = file(
        "crlf.csv",
        "text,label\r\na,x\r\n\r\n\"b\r\nc\",y\r\nd,z\r\n",
    );
    let found = classes(read(&path, &ReadOptions::default()).unwrap());
    let lines: Vec<usize> = found.iter().map(|e| e.line).collect();
    assert_eq!(lines, [2, 4, 6]);

    let (_dir, path) = file("own.tsv", "text\tlabels\na\tx|y\nb\t\n");
    let Dataset::Classes {
        examples,
        multi_label,
    } = read(&path, &ReadOptions::default()).unwrap()
    else {
        panic!("classes");
    };
    assert!(multi_label && examples[0].labels == ["x", "y"] && examples[1].labels.is_empty());

    let (_dir, path) = file("own.jsonl", "{\"text\": \"a\", \"label\": 2}\n");
    let options = ReadOptions {
        scores: true,
        ..ReadOptions::default()
    };
    assert!(matches!(read(&path, &options).unwrap(), Dataset::Scores(s) if s[0].score == 2.0));

    let (_dir, path) = file("train.csv", "text,category\nWhere is it?,card_arrival\n");
    assert_eq!(detect(&path).unwrap(), Format::Banking77);
    let found = classes(read(&path, &ReadOptions::default()).unwrap());
    assert_eq!(found, [example(2, "Where is it?", None, "card_arrival")]);
}

#[test]
fn bad_rows_of_own_files_are_named_by_line_and_field() {
    let cases = [
        (
            "a.csv",
            "text,label\na,1\n\"b,2\n",
            ": line 3: opens a quote that is never closed",
        ),
        (
            "a.csv",
            "text,label\nsay \"a\",1\n",
            ": line 2: has a stray quote",
        ),
        (
            "a.csv",
            "text,label\n\"a\"b,1\n",
            ": line 2: has a stray quote",
        ),
        (
            "a.csv",
            "text,label\na\n",
            ": line 2: has 1 columns, and the column `label` is missing",
        ),
        (
            "a.csv",
            "text,other\na,b\n",
            ": has no column `label` or `labels`",
        ),
        ("a.csv", "text,label\na,\n", ": line 2: `label` is empty"),
        (
            "a.tsv",
            "text\tscore\na\thigh\n",
            ": line 2: `score` is `high`",
        ),
        (
            "a.jsonl",
            "{\"text\": \"a\"}\n",
            ": line 1: has no field `label`",
        ),
        (
            "a.jsonl",
            "{\"label\": \"a\"}\n",
            ": line 1: has no field `text`",
        ),
        (
            "a.jsonl",
            "{\"text\": 1, \"label\": 1}\n",
            ": line 1: `text` is not a text",
        ),
        (
            "a.jsonl",
            "{\"text\": \"a\", \"label\": {}}\n",
            ": line 1: `label` is neither",
        ),
        (
            "a.jsonl",
            "{\"text\": \"a\", \"label\": \"1\"}\n{\"text\n",
            ": line 2: column",
        ),
        (
            "a.jsonl",
            "{\"words\": [\"a\", \"b\"], \"tags\": [\"O\"]}\n",
            ": line 1: has 2 words and 1 tags",
        ),
        (
            "a.jsonl",
            "{\"question\": \"q\", \"choices\": [\"a\", \"b\"], \"answer\": 2}\n",
            ": line 1: `answer` is 2, which is none of 2 choices",
        ),
        (
            "a.jsonl",
            "{\"question\": \"q\", \"context\": \" \", \"answers\": []}\n",
            ": line 1: `context` is empty",
        ),
        ("a.dat", "text,label\na,1\n", ": its name tells no format"),
    ];
    for (name, text, expected) in cases {
        let found = refusal(name, text, &ReadOptions::default());
        assert!(found.starts_with(expected), "{text:?}: {found}");
    }
    let (_dir, path) = file("a.jsonl", "");
    std::fs::write(&path, b"{}\n\xff\n").unwrap();
    let message = read(&path, &ReadOptions::default())
        .unwrap_err()
        .to_string();
    assert!(message.ends_with(": line 2: is not UTF-8"), "{message}");
    let split = ReadOptions {
        split: Some("val".into()),
        ..ReadOptions::default()
    };
    let found = refusal("a.csv", "text,label\na,1\n", &split);
    assert_eq!(found, ": the format csv has no splits to choose from");
    let missing = read(Path::new("nowhere.tsv"), &ReadOptions::default());
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .starts_with("nowhere.tsv: ")
    );
}

#[test]
fn squad_tells_what_is_right_and_what_has_no_answer() {
    let text = r#"{"version": "v2.0", "data": [{"title": "T", "paragraphs": [{"context": "In Rome.",
        "qas": [{"id": "1", "question": "Where?", "answers": [{"text": "Rome", "answer_start": 3}]},
                {"id": "2", "question": "When?", "answers": [], "is_impossible": true},
                {"id": "3", "question": "Why?", "answers": [{"text": "In"}], "is_impossible": true}]
        }]}]}"#;
    let (_dir, path) = file("dev.json", text);
    assert_eq!(detect(&path).unwrap(), Format::Squad);
    let Dataset::Questions(found) = read(&path, &ReadOptions::default()).unwrap() else {
        panic!("questions");
    };
    assert_eq!(found[0].answers[0].start, 3);
    let told: Vec<(bool, usize)> = found
        .iter()
        .map(|q| (q.impossible, q.answers.len()))
        .collect();
    assert_eq!(told, [(false, 1), (true, 0), (true, 0)]);

    let empty = text.replace("In Rome.", " ");
    let found = refusal("dev.json", &empty, &ReadOptions::default());
    assert_eq!(found, ": article `T`, paragraph 1: `context` is empty");
    let twice = text.replace("\"id\": \"3\"", "\"id\": \"1\"");
    let found = refusal("dev.json", &twice, &ReadOptions::default());
    let wanted = ": article `T`, paragraph 1: the `id` \"1\" stands there before";
    assert_eq!(found, wanted);
    let broken = text.replace("\"id\": \"2\", ", "");
    let found = refusal("dev.json", &broken, &ReadOptions::default());
    assert!(found.starts_with(": line 3: missing field `id`"), "{found}");
}

#[test]
fn race_has_an_example_a_question() {
    let line = r#"{"article": "A.", "questions": ["It is _ .", "Why?"], "options": [["a", "b"], ["c", "d"]], "answers": ["B", "A"]}"#;
    let (_dir, path) = file("dev.jsonl", &format!("{line}\n{line}\n"));
    assert_eq!(detect(&path).unwrap(), Format::Race);
    let Dataset::Choices(found) = read(&path, &ReadOptions::default()).unwrap() else {
        panic!("choices");
    };
    let told: Vec<(usize, usize)> = found.iter().map(|c| (c.line, c.answer)).collect();
    assert_eq!(told, [(1, 1), (1, 0), (2, 1), (2, 0)]);
    let found = refusal(
        "dev.jsonl",
        &line.replace("\"A\"]", "\"C\"]"),
        &ReadOptions::default(),
    );
    assert!(
        found.starts_with(": line 1: `answers` has \"C\""),
        "{found}"
    );
    let found = refusal(
        "dev.jsonl",
        &line.replace(", \"A\"]", "]"),
        &ReadOptions::default(),
    );
    assert!(
        found.contains("2 `questions`, 2 `options` and 1 `answers`"),
        "{found}"
    );
}

#[test]
fn race_is_a_folder_of_articles() {
    let article = r#"{"article": "A.", "questions": ["Why?"], "options": [["c", "d"]], "answers": ["B"], "id": "middle1.txt"}"#;
    let dir = tempfile::tempdir().unwrap();
    for (part, answer) in [("high", "A"), ("middle", "B")] {
        std::fs::create_dir(dir.path().join(part)).unwrap();
        let text = article.replace("\"B\"", &format!("{answer:?}"));
        std::fs::write(dir.path().join(part).join("1.txt"), text).unwrap();
    }
    assert_eq!(detect(dir.path()).unwrap(), Format::Race);
    let Dataset::Choices(found) = read(dir.path(), &ReadOptions::default()).unwrap() else {
        panic!("choices");
    };
    let told: Vec<usize> = found.iter().map(|c| c.answer).collect();
    assert_eq!(told, [0, 1]);
    std::fs::write(dir.path().join("middle/2.txt"), "{").unwrap();
    let message = read(dir.path(), &ReadOptions::default()).unwrap_err();
    let message = message.to_string();
    assert!(message.contains("middle/2.txt: line 1"), "{message}");
    let empty = tempfile::tempdir().unwrap();
    assert!(detect(empty.path()).is_err());
}

#[test]
fn tables_hold_questions_choices_and_tags_too() {
    let read_all = |name: &str, text: &str| {
        let (_dir, path) = file(name, text);
        read(&path, &ReadOptions::default()).unwrap()
    };
    let text = "id,question,context,answers\nq1,Who?,\"Ann, and Bob.\",Ann|Bob\nq2,Why?,No.,\n";
    let Dataset::Questions(found) = read_all("qa.csv", text) else {
        panic!("questions");
    };
    let answers: Vec<&str> = found[0].answers.iter().map(|a| a.text.as_str()).collect();
    assert_eq!((found[0].id.as_str(), answers), ("q1", vec!["Ann", "Bob"]));
    assert!(found[1].impossible);
    let Dataset::Choices(found) = read_all("c.tsv", "question\tchoices\tanswer\nWhy?\ta | b\tB\n")
    else {
        panic!("choices");
    };
    assert_eq!((found[0].choices.len(), found[0].answer), (2, 1));
    let Dataset::Tags(found) = read_all("t.csv", "words,tags\nplay jazz,O B-genre\n") else {
        panic!("tags");
    };
    assert_eq!(found[0].tags, ["O", "B-genre"]);
    // Columns that are named make pairs with labels of them.
    let (_dir, path) = file("n.csv", "question,context,right\nWho?,Ann.,yes\n");
    let named = ReadOptions {
        columns: Columns {
            text: Some("question".into()),
            text_pair: Some("context".into()),
            label: Some("right".into()),
        },
        ..ReadOptions::default()
    };
    let found = classes(read(&path, &named).unwrap());
    assert_eq!(found[0], example(2, "Who?", Some("Ann."), "yes"));
}

#[test]
fn qnli_asks_a_question_of_a_sentence_in_jsonl_too() {
    let text = r#"{"question": "Who?", "sentence": "Ann did.", "label": "entailment"}"#;
    let (_dir, path) = file("dev.jsonl", text);
    let found = classes(read(&path, &with(Format::Qnli)).unwrap());
    assert_eq!(found[0], example(1, "Who?", Some("Ann did."), "entailment"));
}

#[test]
fn clinc150_has_splits() {
    let text = r#"{"oos_train": [["x?", "oos"]], "train": [["hi", "greeting"], ["bye", "goodbye"]], "val": [["yo", "greeting"]]}"#;
    let (_dir, path) = file("clinc.json", text);
    assert_eq!(detect(&path).unwrap(), Format::Clinc150);
    let with_split = |split: &str| ReadOptions {
        split: Some(split.into()),
        ..ReadOptions::default()
    };
    let count = |options: &ReadOptions| classes(read(&path, options).unwrap()).len();
    assert_eq!(count(&ReadOptions::default()), 4);
    assert_eq!(count(&with_split("train+oos_train")), 3);
    // Queries have the lines of the file, if it has lines.
    let (_dir, in_lines) = file("lines.json", &text.replace("], [", "],\n ["));
    let found = classes(read(&in_lines, &with_split("train")).unwrap());
    let lines: Vec<usize> = found.iter().map(|e| e.line).collect();
    assert_eq!(lines, [1, 2]);
    let bad = text.replace("[\"yo\", \"greeting\"]", "\n[\"yo\"]");
    let message = refusal("clinc.json", &bad, &ReadOptions::default());
    assert_eq!(message, ": line 2: a query is `[text, intent]`");
    let message = refusal("clinc.json", text, &with_split("test"));
    assert_eq!(
        message,
        ": has no split `test`; it has oos_train, train, val"
    );
}

#[test]
fn a_folder_of_words_and_tags() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("seq.in", "play jazz \nstop\n");
    write("seq.out", "O B-genre \nO\n");
    write("label", "Play\nStop\n");
    assert_eq!(detect(dir.path()).unwrap(), Format::Seq);
    let Dataset::Tags(found) = read(dir.path(), &ReadOptions::default()).unwrap() else {
        panic!("tags");
    };
    assert_eq!(found[0].words, ["play", "jazz"]);
    assert_eq!(found[0].tags, ["O", "B-genre"]);
    let of_texts = ReadOptions {
        classes: true,
        ..ReadOptions::default()
    };
    let found = classes(read(dir.path(), &of_texts).unwrap());
    assert_eq!(found[1], example(2, "stop", None, "Stop"));

    write("seq.out", "O B-genre\nO O\n");
    let message = read(dir.path(), &ReadOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.ends_with("seq.out: line 2: has 2 tags for 1 words"),
        "{message}"
    );
    write("seq.out", "O B-genre\n");
    let message = read(dir.path(), &ReadOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.ends_with("seq.out: has 1 lines, and `seq.in` beside it 2"),
        "{message}"
    );
}

#[test]
fn official_files_have_the_rows_that_they_should() {
    let Some(data) = std::env::var_os("ALBERT_DATA").map(PathBuf::from) else {
        eprintln!("skipped: ALBERT_DATA does not name the folder of test data");
        return;
    };
    for (file, format, rows) in [
        ("glue/SST-2/dev.tsv", Format::Sst2, 872),
        ("glue/CoLA/dev.tsv", Format::Cola, 1043),
        ("glue/MRPC/dev.tsv", Format::Mrpc, 408),
        ("glue/STS-B/dev.tsv", Format::Stsb, 1500),
        ("glue/RTE/dev.tsv", Format::Rte, 277),
        ("glue/QNLI/dev.tsv", Format::Qnli, 5463),
        ("glue/MNLI/sample-dev.jsonl", Format::Jsonl, 1000),
        ("squad/dev-v1.1.json", Format::Squad, 1153),
        ("squad/dev-v2.0.json", Format::Squad, 2350),
        ("intents/clinc150.json", Format::Clinc150, 18_200),
        ("intents/banking77-train.csv", Format::Banking77, 10_003),
        ("intents/snips/valid", Format::Seq, 700),
    ] {
        let path = data.join(file);
        assert_eq!(detect(&path).unwrap(), format, "{file}");
        let read = read(&path, &ReadOptions::default()).unwrap();
        assert_eq!(read.len(), rows, "{file}");
    }
}

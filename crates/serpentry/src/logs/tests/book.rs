use super::*;

const ROTATION: Rotation = Rotation { size: 1 << 30, files: 1 };

fn book() -> Book {
    Book::new(ROTATION, false)
}

fn records(lines: &[String]) -> Records {
    let mut records = Records::new(Stream::Out, 1);
    for line in lines {
        records.push(line.as_bytes(), true);
    }
    records
}

/// `count` lines of 1,000 bytes with a number.
fn numbered(from: u64, count: u64) -> Records {
    records(&(from..from + count).map(|number| format!("{number:<1000}")).collect::<Vec<_>>())
}

fn batch(book: &Book) -> Batch {
    match book.next_job() {
        Some(Job::Write(batch)) => batch,
        other => panic!("{other:?}"),
    }
}

/// The texts of a batch without what stands before them.
fn texts(batch: &Batch) -> Vec<String> {
    let text = std::str::from_utf8(&batch.text).unwrap();
    text.lines().map(|line| line.split_once(" | ").unwrap().1.trim_end().to_owned()).collect()
}

#[test]
fn what_does_not_fit_is_counted_where_it_is_missing() {
    let (book, app) = (book(), "shop".into());
    book.push(&app, &numbered(0, 2_500));
    let dropped = book.dropped("shop");
    assert!((1_400..1_600).contains(&dropped), "{dropped}");
    // Short enough to fit, but it would stand before the notice.
    book.push(&app, &records(&["short".to_owned()]));
    assert_eq!(book.dropped("shop"), dropped + 1);

    let first = batch(&book);
    book.wrote(&first, first.text.len());
    let mut kept = texts(&first);
    let said = kept.pop().unwrap();
    assert_eq!(said, format!("serpentry: 1,{:03} lines dropped", dropped + 1 - 1_000));
    let expect: Vec<String> = (0..2_500 - dropped).map(|number| number.to_string()).collect();
    assert_eq!(kept, expect);
    assert!(first.text.len() <= BUFFER + LONGEST_RECORD);

    book.push(&app, &numbered(7, 1));
    assert_eq!(texts(&batch(&book)), ["7"]);
}

#[test]
fn what_could_not_be_written_is_counted_before_what_comes_later() {
    let (book, app) = (book(), "shop".into());
    book.push(&app, &numbered(0, 4));
    let first = batch(&book);
    // Two of four.
    let written = first.text.len() / 2;
    book.wrote(&first, written);
    assert_eq!(book.dropped("shop"), 2);
    book.push(&app, &numbered(4, 1));
    let second = batch(&book);
    assert_eq!(texts(&second), ["serpentry: 2 lines dropped", "4"]);
    // Not even the notice: it is owed, but it is no line of the application's.
    book.wrote(&second, 0);
    assert_eq!(book.dropped("shop"), 3);
    let third = batch(&book);
    assert_eq!(texts(&third), ["serpentry: 3 lines dropped"]);
    book.wrote(&third, third.text.len());
    assert_eq!(book.dropped("shop"), 3);
}

#[test]
fn a_notice_at_the_end_that_is_not_written_is_owed() {
    let (book, app) = (book(), "shop".into());
    book.push(&app, &numbered(0, 1_200));
    let dropped = book.dropped("shop");
    let first = batch(&book);
    let last = first.text.iter().rev().skip(1).position(|byte| *byte == b'\n').unwrap() + 1;
    book.wrote(&first, first.text.len() - last);
    assert_eq!(book.dropped("shop"), dropped);
    assert_eq!(texts(&batch(&book)), [format!("serpentry: {dropped} lines dropped")]);
}

#[test]
fn many_full_buffers_leave_everybody_a_share() {
    let book = book();
    for number in 0..40 {
        book.push(&format!("flood-{number}").into(), &numbered(0, 1_200));
    }
    assert!(book.state().buffered <= ALL_BUFFERS + 40 * OWN_SHARE, "{}", book.state().buffered);
    let modest = "modest".into();
    book.push(&modest, &numbered(0, 10));
    assert_eq!(book.dropped("modest"), 0);
    book.push(&modest, &numbered(10, 100));
    assert!(book.dropped("modest") > 0);
}

#[test]
fn an_application_is_forgotten_when_nothing_of_it_is_left() {
    let (book, app) = (book(), Arc::from("shop"));
    book.opened(&app);
    book.push(&app, &numbered(0, 1));
    book.forget("shop");
    book.forget("never heard of");
    let last = batch(&book);
    book.closed(&app);
    assert_eq!(book.known(), 1, "its last line is not written yet");
    book.wrote(&last, last.text.len());
    assert_eq!(book.known(), 0);

    // The other way round: its last line is written, and a pipe is still read.
    let feed = Arc::from("feed");
    book.opened(&feed);
    book.push(&feed, &numbered(0, 1));
    let line = loop {
        if let Job::Write(batch) = book.next_job().unwrap() {
            break batch;
        }
    };
    book.forget("feed");
    book.wrote(&line, line.text.len());
    assert_eq!(book.known(), 1, "more may come");
    book.closed(&feed);
    assert_eq!(book.known(), 0);
    assert!(matches!(book.next_job(), Some(Job::Close(app)) if &*app == "feed"));
}

#[test]
fn the_end_comes_after_the_last_line() {
    let (book, app) = (book(), Arc::from("shop"));
    book.push(&app, &numbered(0, 1));
    book.note(&app, "stopped");
    book.stop();
    let last = batch(&book);
    assert_eq!(texts(&last), ["0", "stopped"]);
    // A disk that is full then does not keep the program from its end.
    book.wrote(&last, 0);
    assert!(book.next_job().is_none());
    book.writer_ended();
    assert_eq!(book.next_echo().as_deref(), Some(&b"serpentry: shop: stopped\n"[..]));
    assert_eq!(book.next_echo(), None);
}

#[test]
fn standard_error_is_bounded_and_the_host_comes_first() {
    let book = Book::new(ROTATION, true);
    let app = Arc::from("shop");
    for _ in 0..3 {
        book.push(&app, &numbered(0, 200));
    }
    let long = "x".repeat(5_000);
    book.note(&app, &format!("did not boot:\n  {long}"));
    let text = String::from_utf8(book.next_echo().unwrap()).unwrap();
    assert!(text.len() < ECHO_BUFFER + 5_200, "{}", text.len());
    assert!(text.starts_with("shop | 0 "), "{text:.40}");
    let shown = text.lines().filter(|line| line.starts_with("shop | ")).count();
    let host: Vec<&str> = text.lines().filter(|line| line.starts_with("serpentry: ")).collect();
    let missing = format!("serpentry: {} lines not shown here, they are in the logs", 600 - shown);
    assert_eq!(host, ["serpentry: shop: did not boot:", &format!("serpentry: shop:   {long}"), &missing]);
}

#[test]
fn counts_are_written_for_people() {
    for (count, expect) in
        [(1, "1 line"), (999, "999 lines"), (1_000, "1,000 lines"), (12_345_678, "12,345,678 lines")]
    {
        assert_eq!(lines(count), expect);
    }
}

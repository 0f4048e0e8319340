//! The history over real files: what is kept, what is set aside, and what happens when the disk is full.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use incident::{Book, Bounds, Code, Detection, Id, Ids, Lane, Moment};

use super::store::Store;
use super::*;

/// For everything that must happen sooner or later.
const DEADLINE: Duration = Duration::from_secs(20);

/// The thread has a real clock, by which what is written here is old.
const FOREVER: Retention = Retention { age: Duration::from_secs(1 << 40), size: u64::MAX };

const START: u64 = 1_764_000_000;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(START)
}

fn at(seconds: u64) -> Moment {
    Moment { steady: Duration::from_secs(seconds), unix: Duration::from_secs(START + seconds) }
}

/// So many incidents, one per second, of `app0`, `app1`, ...; as the contract says them.
fn incidents(count: u64, size: usize) -> Vec<Incident> {
    let mut book = Book::new(Bounds { open: 10_000, ..Bounds::default() }, at(0).unix);
    for second in 0..count {
        let detection = Detection::new(Code::A10, "application", Some(&format!("app{second}")))
            .text("traceback", "\u{1b}é'\"; DROP TABLE incidents; --".repeat(size));
        book.record(at(second), detection);
    }
    book.open().iter().map(Incident::from).collect()
}

fn open(folder: &tempfile::TempDir) -> (Store, Option<SetAside>) {
    Store::open(&folder.path().join(FILE), now()).unwrap()
}

fn all(store: &mut Store) -> Vec<String> {
    store.list(None, 10_000).unwrap().into_iter().map(|incident| incident.id).collect()
}

fn id(incident: &Incident) -> Id {
    incident.id.parse::<incident::Name>().unwrap().id
}

#[test]
fn what_was_written_is_read_newest_first_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut written = incidents(3, 1);
    {
        let (mut store, set_aside) = open(&folder);
        assert_eq!(set_aside, None);
        store.put(written.iter()).unwrap();
        assert_eq!(store.list(None, 2).unwrap(), [written[2].clone(), written[1].clone()]);
        assert_eq!(store.list(Some("app0"), 9).unwrap(), [written[0].clone()]);
        assert_eq!(store.list(Some("' OR 1=1 --"), 9).unwrap(), []);
        // It grew, and another name was told for it.
        let other = Ids::new(Lane::Router).draw(at(9).unix);
        written[0].count = 7;
        written[0].also.push(format!("A10-{other}"));
        store.put(written[..1].iter()).unwrap();
        assert_eq!(store.find(id(&written[0])).unwrap().as_ref(), Some(&written[0]));
        assert_eq!(store.find(other).unwrap().as_ref(), Some(&written[0]));
        assert_eq!(store.find(Ids::new(Lane::Host).draw(at(99).unix)).unwrap(), None);
    }
    let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it names paths of visitors");
    let (mut store, set_aside) = open(&folder);
    assert_eq!(set_aside, None);
    let found = store.find(id(&written[0])).unwrap().unwrap();
    assert_eq!((found.count, found.closed_at.as_ref()), (7, Some(&found.last_at)), "nobody saw it close");
    assert_eq!(found.state, serpentry::control::IncidentState::Closed);
}

#[test]
fn what_is_too_old_or_too_much_is_deleted_oldest_first() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&folder);
    let written = incidents(200, 100);
    store.put(written.iter()).unwrap();
    let generous = Retention { age: Duration::from_secs(100), size: u64::MAX };
    store.prune(now() + Duration::from_secs(199), &generous).unwrap();
    let left = all(&mut store);
    // Seen 100 seconds ago or later.
    assert_eq!((left.len(), left.last()), (101, Some(&written[99].id)));
    let size = 128 * 1024;
    store.prune(now(), &Retention { age: Duration::from_secs(1), size }).unwrap();
    let left = all(&mut store);
    assert!(!left.is_empty() && left.len() < 101 && left[0] == written[199].id, "{}", left.len());
    // Ten times as much as is kept for long: the file and its log use the same pages again.
    for round in 0..10 {
        store.put(incidents(200, 100).iter()).unwrap();
        store.prune(now(), &Retention { age: Duration::from_secs(1), size }).unwrap();
        let length = |name: String| fs::metadata(folder.path().join(name)).unwrap().len();
        let bytes = length(FILE.to_owned()) + length(format!("{FILE}-wal"));
        assert!(bytes <= 8 * 1024 * 1024, "{bytes} bytes after round {round}");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_set_aside_and_never_lost() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 8] = [
        ("it is damaged (file is not a database)", |file| {
            fs::write(file, "this is somebody's novel").unwrap();
        }),
        ("it is damaged", |file| {
            // Cut off in the middle.
            let length = fs::metadata(file).unwrap().len();
            fs::OpenOptions::new().write(true).open(file).unwrap().set_len(length / 2).unwrap();
        }),
        ("it is damaged", |file| {
            // A page of noise in place of the schema's first table.
            let mut opened = fs::OpenOptions::new().write(true).open(file).unwrap();
            opened.seek(SeekFrom::Start(4096)).unwrap();
            opened.write_all(&[0xa5; 4096]).unwrap();
        }),
        ("it is damaged", |file| {
            // A page that only the query of newest incidents reads.
            let connection = rusqlite::Connection::open(file).unwrap();
            let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'by_time'";
            let page: u32 = connection.query_row(root, [], |row| row.get(0)).unwrap();
            drop(connection);
            let mut opened = fs::OpenOptions::new().write(true).open(file).unwrap();
            opened.seek(SeekFrom::Start(u64::from(page - 1) * 4096)).unwrap();
            opened.write_all(&[0xa5; 4096]).unwrap();
        }),
        ("database", |file| {
            let mut opened = fs::OpenOptions::new().write(true).open(file).unwrap();
            opened.seek(SeekFrom::Start(16)).unwrap();
            opened.write_all(&[0xff; 60]).unwrap();
        }),
        ("its version is 2, this program knows version 1", |file| {
            let connection = rusqlite::Connection::open(file).unwrap();
            connection.pragma_update(None, "user_version", 2).unwrap();
        }),
        ("a database of something else", |file| {
            let connection = rusqlite::Connection::open(file).unwrap();
            connection.pragma_update(None, "application_id", 1).unwrap();
        }),
        ("a database of something else", |file| {
            fs::remove_file(file).unwrap();
            let connection = rusqlite::Connection::open(file).unwrap();
            connection.execute_batch("CREATE TABLE novel (chapter TEXT)").unwrap();
        }),
    ];
    for (part, damage) in cases {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        open(&folder).0.put(incidents(50, 20).iter()).unwrap();
        damage(&file);
        let damaged = fs::read(&file).unwrap();
        let (mut store, set_aside) = open(&folder);
        let set_aside = set_aside.unwrap_or_else(|| panic!("{part}: it was used"));
        assert!(set_aside.reason.contains(part), "{part}: {}", set_aside.reason);
        assert_eq!(fs::read(&set_aside.moved_to).unwrap(), damaged, "{part}: it was changed");
        store.put(incidents(1, 1).iter()).unwrap();
        assert_eq!(all(&mut store).len(), 1);
        drop(store);
        assert_eq!(open(&folder).1, None, "{part}: the new one is good");
    }
}

#[test]
fn only_the_latest_that_were_set_aside_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    for number in 0..6 {
        fs::write(&file, format!("novel, part {number}")).unwrap();
        let opened = Store::open(&file, now() + Duration::from_secs(number)).unwrap();
        assert!(opened.1.is_some());
    }
    let names =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut aside: Vec<_> = names.filter(|name| name.contains(".aside-")).collect();
    aside.sort();
    assert_eq!(aside.len(), 3, "{aside:?}");
    assert_eq!(fs::read_to_string(folder.path().join(&aside[2])).unwrap(), "novel, part 5");
}

#[test]
fn any_damage_is_noticed_or_harmless() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    let written = incidents(40, 10);
    open(&folder).0.put(written.iter()).unwrap();
    let good = fs::read(&file).unwrap();
    // Every 97th byte, which meets heads of pages, cells and texts, is overwritten in turn; then cuts at the same places.
    for (number, place) in (0..good.len()).step_by(97 * 7).enumerate() {
        let mut bad = good.clone();
        if number % 2 == 0 {
            bad[place] ^= 0xff;
        } else {
            bad.truncate(place);
        }
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(folder.path().join(format!("{FILE}{suffix}")));
        }
        fs::write(&file, &bad).unwrap();
        // It may be noticed at opening or at reading; it must be an answer, and the thread must go on.
        let (mut store, _) = open(&folder);
        let _ = store.list(None, 100);
        let _ = store.put(written.iter());
    }
}

fn ask(history: &History) -> Vec<Incident> {
    history.list(None, 100).blocking_recv().unwrap()
}

/// The next news, waited for.
fn heard(news: &mut mpsc::Receiver<News>) -> News {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, news.recv()).await }).unwrap().unwrap()
}

#[test]
fn the_thread_writes_what_it_is_given_and_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let written = incidents(20, 1);
    {
        let (history, _news) = History::start(folder.path(), FOREVER).unwrap();
        for incident in &written[..10] {
            assert_eq!(history.put(incident.clone()), None);
        }
        // In the order of the calls.
        assert_eq!(ask(&history).len(), 10);
        assert_eq!(history.find(id(&written[3])).blocking_recv().unwrap().as_ref(), Some(&written[3]));
        for incident in &written[10..] {
            assert_eq!(history.put(incident.clone()), None);
        }
    }
    assert_eq!(all(&mut open(&folder).0).len(), 20);
}

#[test]
fn a_folder_that_cannot_be_written_is_said_and_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let (history, mut news) = History::start(&missing, FOREVER).unwrap();
    let written = incidents(1, 1);
    assert_eq!(history.put(written[0].clone()), None);
    assert!(matches!(heard(&mut news), News::Failed(reason) if reason.contains("cannot be created")));
    assert_eq!(ask(&history), []);
    fs::create_dir(&missing).unwrap();
    let until = Instant::now() + DEADLINE;
    while ask(&history).is_empty() {
        assert!(Instant::now() < until, "it is not tried again");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(ask(&history), written);
}

#[test]
fn a_full_disk_loses_nothing_that_fits_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(&folder);
    let (news, mut heard_here) = mpsc::channel(NEWS);
    let mut keeper = Keeper {
        file: folder.path().join(FILE),
        retention: FOREVER,
        store: Some(store),
        pending: BTreeMap::new(),
        pruned: Some(Instant::now()),
        news,
    };
    keeper.store.as_ref().unwrap().fill_disk().unwrap();
    let written = incidents(PENDING as u64 + 5, 20);
    for incident in &written {
        keeper.keep(incident.clone());
    }
    for _ in 0..NEWS + 3 {
        keeper.write();
    }
    assert!(matches!(heard(&mut heard_here), News::Failed(reason) if reason.contains("full")));
    assert_eq!(keeper.pending.len(), PENDING, "bounded, the oldest given up");
    assert!(keeper.is_behind());
    // Room again.
    keeper.store = None;
    keeper.write();
    assert!(!keeper.is_behind());
    let found = all(keeper.store.as_mut().unwrap());
    assert_eq!((found.len(), &found[0]), (PENDING, &written.last().unwrap().id));
}

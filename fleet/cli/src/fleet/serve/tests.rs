use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;

use shoal_wire::v1::{WindowPlan, WindowPlanFields};

use super::super::documents::Desk;
use super::super::secret::Source;
use super::*;

/// Steps of the program until something has surely happened: each waits a tick at most.
const STEPS: usize = 300;

fn plan(epoch_seconds: u64, open_seconds: u32) -> WindowPlan {
    let fields = WindowPlanFields {
        epoch_seconds,
        period_seconds: 86_400,
        open_seconds,
        jitter_ms_max: 0,
        up_bytes_max: 1 << 20,
        down_bytes_max: 1 << 20,
    };
    WindowPlan::new(fields).unwrap()
}

fn description(authority: PublicKey, timekeeper: PublicKey, broker: &str) -> Description {
    Description {
        name: "trial".to_owned(),
        region: "region-0".to_owned(),
        regions: vec!["region-0".to_owned()],
        broker: broker.to_owned(),
        authority,
        timekeeper,
        approver: authority,
        recovery: None,
        vehicles: 1,
    }
}

/// Takes steps, and reads what has come to stand, until this holds.
fn step(
    program: &mut Program,
    reader: &mut Link,
    stands: &mut BTreeSet<Vec<u8>>,
    holds: impl Fn(&Program, &BTreeSet<Vec<u8>>) -> bool,
) {
    for _step in 0..STEPS {
        program.step().unwrap();
        while let Some(event) = reader.next(Duration::from_millis(5)) {
            if let Event::Message(message) = event {
                stands.insert(message.payload.to_vec());
            }
        }
        if holds(program, stands) {
            return;
        }
    }
    panic!("it does not come to that");
}

/// `/dev/full` is a disk that is full, and so is a folder that is gone.
#[test]
fn a_full_disk_ends_nothing_and_what_cannot_be_kept_is_not_published() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let settings = shoal_broker::Settings { listen, ..shoal_broker::Settings::local() };
    let broker = shoal_broker::Broker::start(settings).unwrap();
    let key = |name: &str| secret::create(&dir.join(name), Source::Repeatable(1), name).unwrap();
    let (authority, timekeeper) = (key("authority.key"), key("timekeeper.key"));
    let fleet = description(authority.public(), timekeeper.public(), &broker.url());
    let (documents, kept) = (dir.join("documents"), dir.join("timekeeper"));
    for folder in [&documents, &kept] {
        std::fs::create_dir(folder).unwrap();
    }
    let epoch = utc_ms().unwrap() / 1000 - 5;
    Desk::new(&documents, &authority, 0, u64::MAX).sign("plan", &plan(epoch, 20)).unwrap();

    let address: Addresses = broker.url().parse().unwrap();
    let serve = Serve {
        dir: dir.to_path_buf(),
        broker: None,
        certificates: None,
        windows: None,
        seed: Some(7),
    };
    let mut program = serve.program(&fleet, &address, kept.clone()).unwrap();
    let mut settings = Settings::new(address, authority.public().id());
    settings.limit = PLENTY;
    let mut reader = Link::open(settings).unwrap();
    reader.subscribe(Subscription::Standing { filter: "shoal/1/trial/#", acknowledged: true });
    program.begin().unwrap();
    std::fs::remove_dir(&kept).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let journal = program.witness.journal().put(full);
    Desk::new(&documents, &authority, 1, u64::MAX).sign("plan", &plan(epoch, 20_000)).unwrap();
    let mut stands = BTreeSet::new();
    step(&mut program, &mut reader, &mut stands, |program, _stands| {
        program.full.journal && !program.full.nonces.is_empty()
    });
    for _step in 0..10 {
        step(&mut program, &mut reader, &mut stands, |_program, _stands| true);
    }
    assert_eq!(stands.len(), 0, "neither nonce nor plan");

    // There is room again.
    program.witness.journal().put(journal);
    std::fs::create_dir(&kept).unwrap();
    let signed = std::fs::read(documents.join("plan.shl")).unwrap();
    step(&mut program, &mut reader, &mut stands, |_program, stands| {
        stands.len() >= 2 && stands.contains(&signed)
    });
    let nonces = envelopes(&kept).unwrap();
    assert!(nonces.iter().any(|(_path, nonce)| stands.contains(nonce)));
    let written = super::super::journal::read_file(&super::super::journal::path(dir)).unwrap();
    assert_eq!(written.lines.last().map(|line| line.bytes()), Some(signed));
    goodbye(program.link);
}

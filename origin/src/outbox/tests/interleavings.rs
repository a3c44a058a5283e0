//! Any interleaving of appends, crashes and forwards equals a small model: what was appended, how far the sink is, what is set aside.
//!
//! A crash is a future that is dropped at an await point, with its connections; which one, the case says. After each step the
//! databases are looked at and compared with what the model allows; in the end the sink mends, time passes, what was set aside is
//! replayed, and the sink must have everything that was not discarded, each event once, in order.
//!
//! `GATEWARD_INTERLEAVINGS=500` tries more cases, `GATEWARD_INTERLEAVINGS_SEED=N` those of one seed; a failure prints both seed and the
//! shortest case that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::crash::crash_after;
use super::*;
use crate::clock::Randomness;
use crate::database::Database;
use crate::outbox::{self, FailedFilter, Which};

/// Aggregates of a case.
const AGGREGATES: u8 = 4;
/// Await points after which one that only waits for others' leases is cut off.
const ENOUGH: u32 = 200;

/// How the sink behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    Away,
    /// Takes all and says that it is away.
    AppliesThenDies,
    /// Takes the first half and says that it is away.
    AppliesHalfThenDies,
    /// Takes the first half, says so, and refuses the rest.
    TakesHalf,
    /// Takes the first half (of one, that one) and says that it refused all.
    LiesAboutHalf,
    /// Refuses whatever holds an event of this aggregate.
    Refuses(u8),
}

#[derive(Debug, Clone)]
enum Step {
    /// Some events in one transaction.
    Append {
        aggregate: u8,
        together: u8,
        crash: Option<u32>,
    },
    /// Several writers of one aggregate at once.
    AppendAtOnce {
        aggregate: u8,
        writers: u8,
    },
    /// One forwarder.
    Forward {
        crash: Option<u32>,
    },
    /// Two at once.
    ForwardTogether {
        one: Option<u32>,
        other: Option<u32>,
    },
    Mood(Mood),
    /// Leases and waits end.
    PassTime,
    Replay,
    /// The first that was refused is given up.
    Discard,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let crash = || prop_oneof![3 => Just(None), 2 => (1_u32..60).prop_map(Some)];
    let mood = prop_oneof![
        3 => Just(Mood::Well),
        1 => Just(Mood::Away),
        1 => Just(Mood::AppliesThenDies),
        1 => Just(Mood::AppliesHalfThenDies),
        1 => Just(Mood::TakesHalf),
        1 => Just(Mood::LiesAboutHalf),
        2 => (1..=AGGREGATES).prop_map(Mood::Refuses),
    ];
    let step = prop_oneof![
        5 => (1..=AGGREGATES, 1_u8..6, crash())
            .prop_map(|(aggregate, together, crash)| Step::Append { aggregate, together, crash }),
        1 => (1..=AGGREGATES, 2_u8..5).prop_map(|(aggregate, writers)| Step::AppendAtOnce { aggregate, writers }),
        5 => crash().prop_map(|crash| Step::Forward { crash }),
        2 => (crash(), crash()).prop_map(|(one, other)| Step::ForwardTogether { one, other }),
        3 => mood.prop_map(Step::Mood),
        3 => Just(Step::PassTime),
        1 => Just(Step::Replay),
        1 => Just(Step::Discard),
    ];
    proptest::collection::vec(step, 4..24)
}

/// The real sink, in a mood.
struct Moody {
    real: Postgres,
    mood: Mood,
}

impl Destination for Moody {
    async fn deliver(&self, batch: &[Delivery]) -> Result<(), Undelivered> {
        let away = || DeliveryFault::outage("in no mood");
        let refused = || DeliveryFault::Refused("in no mood".to_owned());
        let half = batch.len() / 2;
        match self.mood {
            Mood::Well => self.real.deliver(batch).await,
            Mood::Away => Err(away().into()),
            Mood::AppliesThenDies => {
                self.real.deliver(batch).await?;
                Err(away().into())
            }
            Mood::AppliesHalfThenDies => {
                self.real.deliver(&batch[..half]).await?;
                Err(away().into())
            }
            Mood::TakesHalf => {
                self.real.deliver(&batch[..half]).await?;
                Err(Undelivered { delivered: (0..half).collect(), fault: refused() })
            }
            Mood::LiesAboutHalf => {
                self.real.deliver(&batch[..half.max(1)]).await?;
                Err(refused().into())
            }
            Mood::Refuses(aggregate) => {
                if batch.iter().any(|row| row.aggregate_id == id_of(aggregate)) {
                    return Err(refused().into());
                }
                self.real.deliver(batch).await
            }
        }
    }
}

fn id_of(aggregate: u8) -> Uuid {
    Uuid::from_u128(u128::from(aggregate))
}

/// What there is, by aggregate: versions, ascending, except those of the sink, which are in their order of arrival.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Observed {
    events: BTreeMap<Uuid, Vec<i64>>,
    queued: BTreeMap<Uuid, BTreeSet<i64>>,
    set_aside: BTreeMap<Uuid, BTreeSet<i64>>,
    arrived: BTreeMap<Uuid, Vec<i64>>,
}

async fn observe(t: &TestDatabase) -> Observed {
    let (mut command, mut read) = (t.admin().await, t.read_side().await);
    let mut observed = Observed::default();
    let all = "SELECT aggregate_id, version FROM auth_gateway.events ORDER BY version";
    for (id, version) in sqlx::query_as::<_, (Uuid, i64)>(all).fetch_all(&mut command).await.unwrap() {
        observed.events.entry(id).or_default().push(version);
    }
    let queue = |table: &str| {
        sqlx::AssertSqlSafe(format!(
            "SELECT aggregate_id, version FROM auth_gateway.{table} JOIN auth_gateway.events USING (event_id) WHERE destination_id = 1"
        ))
    };
    for (table, into) in [("outbox", &mut observed.queued), ("outbox_failed", &mut observed.set_aside)] {
        for (id, version) in
            sqlx::query_as::<_, (Uuid, i64)>(queue(table)).fetch_all(&mut command).await.unwrap()
        {
            assert!(into.entry(id).or_default().insert(version), "{table} holds an event twice");
        }
    }
    let arrived = "SELECT aggregate_id, version FROM public.auth_events ORDER BY arrival";
    for (id, version) in sqlx::query_as::<_, (Uuid, i64)>(arrived).fetch_all(&mut read).await.unwrap() {
        observed.arrived.entry(id).or_default().push(version);
    }
    observed
}

/// What is known without looking.
#[derive(Debug, Default)]
struct Model {
    last: Observed,
    /// Versions that were given up.
    discarded: BTreeMap<Uuid, BTreeSet<i64>>,
    /// Whether somebody died with lanes in hand since time last passed.
    held: bool,
    /// Whether a row may wait for its next attempt.
    waiting: bool,
}

impl Model {
    fn count(&self, id: Uuid) -> i64 {
        self.last.events.get(&id).map_or(0, |versions| i64::try_from(versions.len()).unwrap())
    }

    /// What always holds, whatever was just done.
    fn accept(&mut self, now: Observed) -> Result<(), TestCaseError> {
        let none = BTreeSet::new();
        for (id, versions) in &now.events {
            let whole: Vec<i64> = (1..=i64::try_from(versions.len()).unwrap()).collect();
            prop_assert_eq!(versions, &whole, "a gap in {}", id);
            let arrived = now.arrived.get(id).cloned().unwrap_or_default();
            prop_assert!(arrived.is_sorted(), "{} arrived out of order: {:?}", id, arrived);
            let arrived: BTreeSet<i64> = arrived.into_iter().collect();
            let discarded = self.discarded.get(id).unwrap_or(&none);
            for version in &arrived {
                let is_settled = |earlier| arrived.contains(&earlier) || discarded.contains(&earlier);
                prop_assert!((1..*version).all(is_settled), "{} skipped something: {:?}", id, arrived);
            }
            for version in whole {
                let somewhere = arrived.contains(&version)
                    || discarded.contains(&version)
                    || now.queued.get(id).is_some_and(|queued| queued.contains(&version))
                    || now.set_aside.get(id).is_some_and(|aside| aside.contains(&version));
                prop_assert!(somewhere, "version {} of {} is lost", version, id);
            }
        }
        for (id, arrived) in &now.arrived {
            let known = now.events.get(id).map_or(0, Vec::len);
            prop_assert!(arrived.len() <= known, "{} has events in the sink that never were", id);
            let before = self.last.arrived.get(id).map_or(0, Vec::len);
            prop_assert!(arrived.len() >= before, "{} lost events in the sink", id);
        }
        self.last = now;
        Ok(())
    }

    /// Whether everything that can be delivered is.
    fn all_delivered(&self) -> Result<(), TestCaseError> {
        let queued: usize = self.last.queued.values().map(BTreeSet::len).sum();
        prop_assert_eq!(queued, 0, "something stayed behind: {:?}", self.last);
        Ok(())
    }
}

struct Case<'a> {
    t: &'a TestDatabase,
    mood: Mood,
    model: Model,
    forwarders: u32,
}

impl Case<'_> {
    fn own(&self, options: sqlx::postgres::PgConnectOptions) -> Database {
        Database::new(options, 2, self.t.clock.clone(), Randomness::System)
    }

    async fn append(&self, aggregate: u8, together: u8) -> Vec<i64> {
        let database = self.own(self.t.configuration.serve_login.options());
        let mut scope = database.scope(Actor::System(Component::AuthorizationServer)).await.unwrap();
        let mut versions = Vec::new();
        for _ in 0..together {
            let event = AuthorizationCodeReplayed { client_id: Identifier::of("demo-app") };
            let appended = scope.append(NewEvent::of(WORKSPACE, id_of(aggregate), &event)).await.unwrap();
            versions.push(appended.version);
        }
        scope.commit().await.unwrap();
        versions
    }

    /// True where it ended by itself.
    async fn forward(&self, name: u32, awaits: Option<u32>) -> bool {
        let read = self.own(self.t.configuration.read_login.options());
        let destination = Moody { real: Postgres::new(read), mood: self.mood };
        let mut settings =
            Settings::new(format!("forwarder-{name}"), 1, Duration::from_mins(1), Duration::from_millis(1));
        settings.first_backoff = Duration::from_mins(1);
        let command = self.own(self.t.configuration.forwarder_login.options());
        let forwarder = Forwarder::new(command, destination, settings);
        let awaits = awaits.unwrap_or(if self.model.held { ENOUGH } else { u32::MAX });
        let ended = crash_after(pin!(forwarder.drain()), awaits).await;
        match ended {
            None => false,
            Some(Ok(_) | Err(ForwarderError::Outage(_))) => true,
            Some(Err(error)) => panic!("{error}"),
        }
    }

    async fn pass_time(&self) {
        execute(
            &mut self.t.admin().await,
            "UPDATE auth_gateway.outbox_lanes SET leased_until = clock_timestamp() WHERE leased_until > clock_timestamp();
             UPDATE auth_gateway.outbox SET next_attempt_at = clock_timestamp() WHERE next_attempt_at > clock_timestamp();
             UPDATE auth_gateway.outbox_destinations SET breaker_until = clock_timestamp() WHERE breaker_until > clock_timestamp()"
                .to_owned(),
        )
        .await;
    }

    async fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let before = self.model.last.clone();
        match *step {
            Step::Append { aggregate, together, crash } => {
                let id = id_of(aggregate);
                let first = self.model.count(id) + 1;
                let told = crash_after(self.append(aggregate, together), crash.unwrap_or(u32::MAX)).await;
                let now = self.settled(told.is_none()).await;
                let grown = i64::try_from(now.events.get(&id).map_or(0, Vec::len)).unwrap() + 1 - first;
                if let Some(versions) = told {
                    prop_assert_eq!(versions, (first..first + i64::from(together)).collect::<Vec<_>>());
                    prop_assert_eq!(grown, i64::from(together));
                } else {
                    prop_assert!(
                        grown == 0 || grown == i64::from(together),
                        "{} of {} appended",
                        grown,
                        together
                    );
                }
                prop_assert_eq!(&now.arrived, &before.arrived);
                return self.model.accept(now);
            }
            Step::AppendAtOnce { aggregate, writers } => {
                let first = self.model.count(id_of(aggregate)) + 1;
                let case = &*self;
                let one = async |writer| {
                    if writer <= writers { case.append(aggregate, 1).await } else { Vec::new() }
                };
                let (a, b, c, d) = tokio::join!(one(1), one(2), one(3), one(4));
                let mut versions = [a, b, c, d].concat();
                versions.sort_unstable();
                prop_assert_eq!(versions, (first..first + i64::from(writers)).collect::<Vec<_>>());
            }
            Step::Forward { crash } => {
                self.forwarders += 1;
                let ended = self.forward(self.forwarders, crash).await;
                return self.after_forwarding(ended, &before).await;
            }
            Step::ForwardTogether { one, other } => {
                self.forwarders += 2;
                // Whoever waits for the lanes of one that died waits long enough.
                let limit = |crash: Option<u32>, beside: Option<u32>| crash.or(beside.map(|_| ENOUGH));
                let (first, second) = tokio::join!(
                    self.forward(self.forwarders - 1, limit(one, other)),
                    self.forward(self.forwarders, limit(other, one))
                );
                return self.after_forwarding(first && second, &before).await;
            }
            Step::Mood(mood) => self.mood = mood,
            Step::PassTime => {
                self.pass_time().await;
                (self.model.held, self.model.waiting) = (false, false);
            }
            Step::Replay => {
                let replayed = outbox::replay(&self.t.database, "read-database", Which::All).await;
                let now = observe(self.t).await;
                let aside: usize = now.set_aside.values().map(BTreeSet::len).sum();
                prop_assert_eq!(aside, 0, "{:?}", replayed);
                return self.model.accept(now);
            }
            Step::Discard => return self.discard().await,
        }
        let now = observe(self.t).await;
        prop_assert_eq!(&now.arrived, &before.arrived);
        self.model.accept(now)
    }

    async fn discard(&mut self) -> Result<(), TestCaseError> {
        let filter = FailedFilter { limit: 100, ..FailedFilter::default() };
        let failed = outbox::failed(&self.t.database, &filter).await.unwrap();
        let Some(refused) = failed.iter().find(|row| row.error_class == "refused") else { return Ok(()) };
        let done =
            outbox::discard(&self.t.database, "read-database", Which::Event(refused.event_id)).await.unwrap();
        prop_assert_eq!(done.events, 1);
        self.model.discarded.entry(refused.aggregate_id).or_default().insert(refused.version);
        let now = observe(self.t).await;
        let left =
            |observed: &Observed| observed.set_aside.get(&refused.aggregate_id).map_or(0, BTreeSet::len);
        prop_assert_eq!(left(&now), 0, "what stood behind it is not released");
        self.model.accept(now)
    }

    /// What there is, once the server has noticed who died: a commit that was under way then may still happen.
    async fn settled(&self, somebody_died: bool) -> Observed {
        if somebody_died {
            let mut admin = self.t.admin().await;
            let busy = "SELECT count(*) FROM pg_stat_activity
                        WHERE datname IN (current_database(), current_database() || '_read') AND pid <> pg_backend_pid() AND state <> 'idle'";
            while sqlx::query_scalar::<_, i64>(busy).fetch_one(&mut admin).await.unwrap() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        observe(self.t).await
    }

    async fn after_forwarding(&mut self, ended: bool, before: &Observed) -> Result<(), TestCaseError> {
        let now = self.settled(!ended).await;
        prop_assert_eq!(&now.events, &before.events, "forwarding changed the events");
        if self.mood == Mood::Away {
            prop_assert_eq!(&now.arrived, &before.arrived);
        }
        let was_free = !self.model.held && !self.model.waiting;
        self.model.held |= !ended;
        self.model.waiting |= matches!(self.mood, Mood::TakesHalf | Mood::LiesAboutHalf | Mood::Refuses(_));
        self.model.accept(now)?;
        // Nobody died and nothing waits: then nothing is left.
        if ended && was_free && self.mood == Mood::Well { self.model.all_delivered() } else { Ok(()) }
    }

    /// Mends everything and lets it end.
    async fn mend(&mut self) -> Result<(), TestCaseError> {
        self.mood = Mood::Well;
        for _ in 0..2 {
            for step in [Step::PassTime, Step::Forward { crash: None }, Step::Replay] {
                Box::pin(self.step(&step)).await?;
            }
        }
        Box::pin(self.step(&Step::Forward { crash: None })).await?;
        for (id, versions) in &self.model.last.events {
            let discarded = self.model.discarded.get(id).cloned().unwrap_or_default();
            let arrived = self.model.last.arrived.get(id).cloned().unwrap_or_default();
            let missing: Vec<&i64> = versions
                .iter()
                .filter(|version| !discarded.contains(version) && !arrived.contains(version))
                .collect();
            prop_assert!(missing.is_empty(), "{} lacks {:?} in the end", id, missing);
        }
        Ok(())
    }
}

async fn play(t: &TestDatabase, steps: &[Step]) -> Result<(), TestCaseError> {
    execute(
        &mut t.admin().await,
        "TRUNCATE auth_gateway.events, auth_gateway.outbox, auth_gateway.outbox_failed, auth_gateway.outbox_parked CASCADE;
         UPDATE auth_gateway.outbox_lanes SET leased_by = NULL, leased_until = NULL;
         UPDATE auth_gateway.outbox_destinations SET breaker_failures = 0, breaker_until = NULL, enabled = (id = 1)"
            .to_owned(),
    )
    .await;
    execute(&mut t.read_side().await, "TRUNCATE public.auth_events".to_owned()).await;
    let mut case = Case { t, mood: Mood::Well, model: Model::default(), forwarders: 0 };
    for step in steps {
        Box::pin(case.step(step)).await?;
    }
    Box::pin(case.mend()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_interleaving_of_appends_crashes_and_forwards_equals_the_model() {
    test_database::run_leaving_work(async |t| {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let cases = number("GATEWARD_INTERLEAVINGS").map_or(16, |cases| u32::try_from(cases).unwrap());
        let seed = number("GATEWARD_INTERLEAVINGS_SEED")
            .unwrap_or_else(|| u64::from(u32::from_be_bytes(Randomness::System.bytes())));
        // The sink's own order of arrival.
        let arrival = "ALTER TABLE public.auth_events ADD COLUMN arrival bigint GENERATED ALWAYS AS IDENTITY";
        execute(&mut t.read_side().await, arrival.to_owned()).await;
        let config = Config { cases, max_shrink_iters: 300, failure_persistence: None, ..Config::default() };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let runtime = tokio::runtime::Handle::current();
        let outcome = runner.run(&steps(), |steps| {
            tokio::task::block_in_place(|| runtime.block_on(Box::pin(play(t, &steps))))
        });
        match outcome {
            Ok(()) => println!("{cases} interleavings of seed {seed} equal the model"),
            Err(TestError::Fail(reason, steps)) => {
                panic!("GATEWARD_INTERLEAVINGS_SEED={seed}: {reason}\nthe shortest case found:\n{steps:#?}")
            }
            Err(error) => panic!("GATEWARD_INTERLEAVINGS_SEED={seed}: {error}"),
        }
    })
    .await;
}

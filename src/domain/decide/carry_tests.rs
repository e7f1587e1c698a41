//! What goes along when one plan takes another's place: every choice, on a plan of which something was used.

use rstest::rstest;
use uuid::Uuid;

use super::super::super::account::{AccountState, Changes, IdSource};
use super::super::super::attachment::{Attachment, AttachmentOrigin, AttachmentState};
use super::super::super::catalog::{CatalogVersion, PlanId, file};
use super::super::super::command::Command;
use super::super::super::ids::AccountId;
use super::super::{Context, decide};
use super::*;

const CATALOG: &str = r#"
[features.calls]
type = "metered"
[plans.small]
group = "main"
auto_enable = true
[[plans.small.items]]
feature = "calls"
included = "10"
reset = "month"
[[plans.small.items]]
id = "welcome"
feature = "calls"
included = "3"
[plans.large]
group = "main"
[[plans.large.items]]
feature = "calls"
included = "50"
reset = "month"
"#;

struct Counting(u128);

impl IdSource for Counting {
    fn fresh(&mut self) -> Uuid {
        self.0 = self.0.wrapping_add(1);
        Uuid::from_u128(self.0)
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}

fn catalog() -> CatalogVersion {
    let catalog = file::read(CATALOG).unwrap();
    CatalogVersion {
        version: 1,
        applied_at: None,
        plan_versions: catalog.plans.keys().map(|id| (id.clone(), 1)).collect(),
        terms: catalog.plans.iter().map(|(id, plan)| ((id.clone(), 1), plan.clone())).collect(),
        catalog,
    }
}

fn opened(context: Context<'_>, ids: &mut Counting) -> AccountState {
    let id = AccountId::from_uuid(Uuid::from_u128(0xacc));
    let mut state = AccountState { last_entry_at: context.now, complete: true, ..AccountState::empty(id) };
    let _: super::super::super::command::Decision =
        decide(&mut state, &mut Changes::default(), &Command::Open, context, ids).unwrap();
    state
}

/// Takes credits from the small plan's month, and of those says that some were lost rather than used.
fn use_up(draft: &mut Draft<'_>, used: &str, lost: &str) {
    for (kind, amount) in [(EntryKind::Draw, used), (EntryKind::Void, lost)] {
        let month = draft.state.grants.iter().find(|grant| grant.expires_at.is_some()).unwrap();
        let line = Line::of(month, kind, credits(amount).negated());
        draft.book(line).unwrap();
    }
}

fn large(draft: &mut Draft<'_>, at: Timestamp) -> AttachmentId {
    let small = draft.state.attachments[0].clone();
    let plan = PlanId::new("large").unwrap();
    let id = AttachmentId::from_uuid(draft.ids.fresh());
    let new = Attachment {
        id,
        plan,
        state: AttachmentState::Active,
        origin: AttachmentOrigin::Api,
        anchor: at,
        started_at: at,
        ..small
    };
    draft.attach(new);
    draft.renew(id).unwrap();
    id
}

#[rstest]
#[case::nothing(CarryOver::default(), "4", "0", "53")]
#[case::balances(CarryOver { balances: true, usage: false }, "4", "0", "59")]
#[case::usage(CarryOver { balances: false, usage: true }, "4", "0", "49")]
#[case::both(CarryOver { balances: true, usage: true }, "4", "0", "55")]
#[case::what_was_lost_is_not_used(CarryOver { balances: false, usage: true }, "4", "5", "49")]
#[case::used_up_and_closed(CarryOver { balances: false, usage: true }, "10", "0", "43")]
fn a_plan_takes_anothers_place(#[case] carry: CarryOver, #[case] used: &str, #[case] lost: &str, #[case] left: &str) {
    let catalog = catalog();
    let mut ids = Counting(0);
    let state = opened(Context { catalog: &catalog, now: time("2026-01-01T00:00:00Z") }, &mut ids);
    let now = time("2026-01-10T00:00:00Z");
    let mut draft = Draft::new(&state, Context { catalog: &catalog, now }, &mut ids);
    use_up(&mut draft, used, lost);
    // What is used up is not read again.
    draft.state.grants.retain(|grant| grant.remaining.is_positive());
    let small = draft.state.attachments[0].id;
    let new = large(&mut draft, now);
    draft.take_over(small, new, now, carry).unwrap();
    let sum: i128 = draft.state.grants.iter().map(|grant| grant.spendable(now).nanos()).sum();
    assert_eq!(Credits::from_nanos(sum).unwrap(), credits(left), "the welcome gift stays in any case");
    let draws: Vec<_> = draft.changes.entries.iter().filter(|(entry, _)| entry.kind == EntryKind::Draw).collect();
    assert!(draws.iter().all(|(entry, _)| entry.used_feature.is_none() && entry.quantity.is_none()));
    assert!(draft.state.attachments.iter().any(|known| known.id == small && known.ended_at == Some(now)));
}

/// More was used than the new plan gives: it begins at zero, never below.
#[test]
fn carried_usage_stops_at_what_there_is() {
    let catalog = catalog();
    let mut ids = Counting(0);
    let now = time("2026-01-01T00:00:00Z");
    let state = opened(Context { catalog: &catalog, now }, &mut ids);
    let mut draft = Draft::new(&state, Context { catalog: &catalog, now }, &mut ids);
    let new = large(&mut draft, now);
    let feature = draft.state.grants[0].feature.clone();
    draft.deduct_from_first(new, &feature, credits("80"), now).unwrap();
    let first = draft.state.grants.iter().find(|grant| grant.period.as_ref().is_some_and(|of| of.attachment == new));
    assert_eq!(first.unwrap().remaining, Credits::ZERO);
}

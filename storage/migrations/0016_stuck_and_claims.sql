-- When a market last moved on chain, when people were told that it does not, and what its pool can pay.

ALTER TABLE markets ADD COLUMN active_at timestamptz; -- chain time
ALTER TABLE markets ADD COLUMN stuck_told_at timestamptz;
ALTER TABLE markets ADD COLUMN pool_lamports numeric(20, 0) NOT NULL DEFAULT 0;
ALTER TABLE markets ADD COLUMN resolver_fees numeric(20, 0) NOT NULL DEFAULT 0;

-- Markets that wait for nothing are looked at 30 days after they last moved; whoever has less is told sooner by its actor.
UPDATE markets
SET active_at = greatest(
        created_at, approved_at, activated_at, resolution_proposed_at, resolved_at, dispute_initiated_at, finalized_at,
        cancelled_at
    );
UPDATE markets
SET next_deadline_at = active_at + interval '30 days', next_deadline_clock = 'chain'
WHERE next_deadline_at IS NULL AND intent_id IS NULL AND state NOT IN ('FINALIZED', 'CANCELLED');
UPDATE markets SET claims_enabled = true, claims_available_at = coalesce(finalized_at, resolved_at, active_at)
WHERE state = 'FINALIZED';

-- The end of a dispute, and aggregations that were skipped.

-- The end of an undisputed market carries no pair.
ALTER TABLE chain_transactions ALTER COLUMN yes DROP NOT NULL;
ALTER TABLE chain_transactions ALTER COLUMN no DROP NOT NULL;

-- A market ends once, whichever of the two instructions does it.
CREATE UNIQUE INDEX chain_transactions_one_end ON chain_transactions (market_id)
    WHERE status IN ('planned', 'signed', 'sent') AND action IN ('finalize_market', 'aggregate_dispute_votes');

ALTER TABLE markets ADD COLUMN effect_unseen boolean NOT NULL DEFAULT false;
ALTER TABLE markets ADD COLUMN expected_yes bigint; -- what the plan to end the dispute was made with
ALTER TABLE markets ADD COLUMN expected_no bigint;
ALTER TABLE markets ADD COLUMN expected_threshold_bps integer;
ALTER TABLE markets ADD COLUMN skip_reason text NOT NULL DEFAULT '';
CREATE INDEX markets_windowed ON markets (vshard) WHERE state IN ('RESOLVING', 'DISPUTED');

ALTER TABLE aggregation_results ALTER COLUMN submitted_yes DROP NOT NULL; -- NULL where nothing was sent
ALTER TABLE aggregation_results ALTER COLUMN submitted_no DROP NOT NULL;
ALTER TABLE aggregation_results ADD COLUMN synthetic boolean NOT NULL DEFAULT false; -- a vote that nobody cast (P5)
CREATE INDEX aggregation_results_newest ON aggregation_results (market_id, id);

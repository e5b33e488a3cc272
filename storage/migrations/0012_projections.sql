-- What the events come to: positions and trades; where database and chain disagreed; and indexes for whoever lists events.

-- `slot` is that of the account read which the row shows, 0 before the first; `touched_slot` that of the newest event about
-- it. A row with slot < touched_slot waits to be read again. An older read never overwrites a newer one (T43).
CREATE TABLE positions (
    market_id text NOT NULL,
    user_pubkey text NOT NULL,
    pda text, -- the market's address; NULL before the first read
    shares_yes numeric(20, 0) NOT NULL DEFAULT 0,
    shares_no numeric(20, 0) NOT NULL DEFAULT 0,
    total_invested numeric(20, 0) NOT NULL DEFAULT 0,
    trades_count bigint NOT NULL DEFAULT 0,
    last_trade_at timestamptz,
    has_claimed boolean NOT NULL DEFAULT false,
    claimed_amount numeric(20, 0) NOT NULL DEFAULT 0,
    slot bigint NOT NULL DEFAULT 0,
    touched_slot bigint NOT NULL DEFAULT 0,
    clean_slot bigint NOT NULL DEFAULT 0, -- reconciliation found it equal to the chain at this slot
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (market_id, user_pubkey)
) WITH (fillfactor = 80);

CREATE INDEX positions_stale ON positions (touched_slot) WHERE slot < touched_slot;
CREATE INDEX positions_of_wallet ON positions (user_pubkey);

-- One row for each SharesBought and SharesSold; shares and amount may both be 0 (CI 10.6).
CREATE TABLE trades (
    transaction_signature text NOT NULL,
    event_index integer NOT NULL,
    market_id text NOT NULL,
    user_pubkey text NOT NULL,
    is_buy boolean NOT NULL,
    outcome boolean NOT NULL,
    shares numeric(20, 0) NOT NULL CHECK (shares >= 0),
    amount numeric(20, 0) NOT NULL CHECK (amount >= 0), -- what the buyer paid with fees, or what the seller got
    new_price_yes numeric(20, 0) NOT NULL,
    block_slot bigint NOT NULL,
    traded_at timestamptz NOT NULL,
    PRIMARY KEY (transaction_signature, event_index)
);

CREATE INDEX trades_of_market ON trades (market_id, block_slot);
CREATE INDEX trades_of_wallet ON trades (user_pubkey, block_slot);

-- How many events there are, so that no list has to count them. Dropped ones are in it until they are taken out.
CREATE TABLE event_counts (
    market_id text NOT NULL, -- empty for events about no market that is known
    event_type text NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (market_id, event_type)
) WITH (fillfactor = 60);

CREATE INDEX event_counts_type ON event_counts (event_type);

-- Lists go by (block_slot, block_index, signature, event_index), newest first (T41); an unknown block_index counts as -1.
CREATE INDEX event_logs_order ON event_logs (block_slot, (coalesce(block_index, -1)));
CREATE INDEX event_logs_market ON event_logs (market_id, block_slot, (coalesce(block_index, -1)));
CREATE INDEX event_logs_type ON event_logs (event_type, block_slot, (coalesce(block_index, -1)));
CREATE INDEX event_logs_market_type ON event_logs (market_id, event_type, block_slot, (coalesce(block_index, -1)));
CREATE INDEX event_logs_time ON event_logs (timestamp); -- turns dates into slots

-- Where database and chain disagreed in two runs, with nothing moving in between.
CREATE TABLE discrepancies (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    market_id text NOT NULL,
    user_pubkey text, -- of a position
    field text NOT NULL,
    database_value text NOT NULL,
    chain_value text NOT NULL,
    observed_slot bigint NOT NULL,
    repaired boolean NOT NULL DEFAULT false,
    detected_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX discrepancies_age ON discrepancies (detected_at, id);
CREATE INDEX discrepancies_market ON discrepancies (market_id, detected_at, id);

-- What the last run saw and the next one has to see again.
CREATE TABLE suspicions (
    market_id text NOT NULL,
    user_pubkey text NOT NULL, -- empty for the market itself
    field text NOT NULL,
    database_value text NOT NULL,
    chain_value text NOT NULL,
    observed_slot bigint NOT NULL,
    reported boolean NOT NULL DEFAULT false, -- a discrepancy was stored for it, and could not be repaired
    PRIMARY KEY (market_id, user_pubkey, field)
);

-- Terminal markets that were found equal to the chain; they are not compared again while their row stays as it is.
CREATE TABLE clean_markets (
    market_id text PRIMARY KEY,
    slot bigint NOT NULL
);

-- Runs of the reconciliation, asked for by the timer or by an operator; the indexer answers.
CREATE TABLE reconciliation_runs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    market_id text, -- NULL for all markets
    requested_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    checked bigint NOT NULL DEFAULT 0,
    discrepancies bigint NOT NULL DEFAULT 0,
    repaired bigint NOT NULL DEFAULT 0,
    error text
);

CREATE INDEX reconciliation_runs_open ON reconciliation_runs (requested_at) WHERE finished_at IS NULL;
CREATE INDEX reconciliation_runs_finished ON reconciliation_runs (finished_at) WHERE finished_at IS NOT NULL;

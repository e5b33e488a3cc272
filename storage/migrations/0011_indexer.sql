-- What the chain said: bodies and signatures on their way in, the events that came of them, and what markets have yet to
-- hear of it. `next_attempt_at` is also the lease: whoever takes a row moves it on, so the row of a dead worker comes back.

CREATE TABLE webhook_inbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    body bytea NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'done', 'dead', 'rejected')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error text,
    received_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);

CREATE INDEX webhook_inbox_pending ON webhook_inbox (next_attempt_at, id) WHERE status = 'pending';
CREATE INDEX webhook_inbox_age ON webhook_inbox (received_at) WHERE status = 'pending';
CREATE INDEX webhook_inbox_ended ON webhook_inbox (ended_at) WHERE status = 'done';
CREATE INDEX webhook_inbox_rejected ON webhook_inbox (id) WHERE status = 'rejected';

-- Signatures that are known of and not read yet.
CREATE TABLE wanted_transactions (
    signature text PRIMARY KEY,
    slot bigint, -- NULL where only the signature was told
    source text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error text,
    wanted_at timestamptz NOT NULL DEFAULT now(),
    alerted_at timestamptz -- when somebody was told that it does not come
);

CREATE INDEX wanted_transactions_due ON wanted_transactions (next_attempt_at);

-- Every transaction of the program that was read; one that failed has an `err` and no events (CI 7.2).
CREATE TABLE indexed_transactions (
    signature text PRIMARY KEY,
    slot bigint NOT NULL,
    block_index integer, -- NULL until known
    block_time timestamptz,
    err text,
    commitment text NOT NULL CHECK (commitment IN ('confirmed', 'finalized', 'dropped')),
    source text NOT NULL,
    event_count integer NOT NULL,
    is_incomplete boolean NOT NULL, -- the log was cut off: what it changed was read from the accounts (T35, C3)
    seen_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz -- when it became finalized or dropped
);

CREATE INDEX indexed_transactions_confirmed ON indexed_transactions (slot, signature) WHERE commitment = 'confirmed';

-- An event is (transaction_signature, event_index), the ordinal of the accepted log line (T31, T32); events are ordered
-- by (block_slot, block_index, event_index). 64-bit numbers in event_data are decimal strings.
CREATE TABLE event_logs (
    transaction_signature text NOT NULL,
    event_index integer NOT NULL,
    event_hash text NOT NULL, -- SHA-256 of signature, index and raw bytes, hex
    block_slot bigint NOT NULL,
    block_index integer, -- NULL until known
    block_time timestamptz,
    event_type text NOT NULL,
    market_id text, -- base58; NULL where the event names no market that is known
    user_pubkey text,
    event_data jsonb NOT NULL,
    raw bytea NOT NULL,
    fault text, -- why the bytes are no event of ours; then event_type is Undecodable
    commitment text NOT NULL CHECK (commitment IN ('confirmed', 'finalized', 'dropped')),
    timestamp timestamptz NOT NULL, -- of the event, else of its block (T48)
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT event_logs_once PRIMARY KEY (transaction_signature, event_index)
);

-- Everything of the program up to `slot` is read or wanted; one row for each program id.
CREATE TABLE indexer_cursor (
    program_id text PRIMARY KEY,
    slot bigint NOT NULL,
    signature text, -- the last one at or below `slot`
    finalized_slot bigint NOT NULL, -- of the chain, when the last sweep began
    swept_at timestamptz NOT NULL DEFAULT now() -- when the last sweep ended
);

-- What markets have yet to hear, for their actors. Rows go once the actor has committed.
CREATE TABLE market_effects (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    market_id text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('observe', 'vote')),
    slot bigint NOT NULL, -- the account must be read at this slot or later
    transaction_signature text, -- of a vote
    user_pubkey text,
    vote_type text CHECK (vote_type IN ('proposal', 'dispute')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'vote') = (transaction_signature IS NOT NULL AND user_pubkey IS NOT NULL AND vote_type IS NOT NULL))
);

CREATE INDEX market_effects_due ON market_effects (next_attempt_at, id);
CREATE INDEX market_effects_votes ON market_effects (transaction_signature) WHERE kind = 'vote';

-- Which market lives at which address: some events name the address only (CI 7).
CREATE TABLE market_addresses (
    pda text PRIMARY KEY,
    market_id text NOT NULL
);

-- What was given up; an operator looks, mends and replays.
CREATE TABLE dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('webhook', 'transaction', 'effect')),
    body bytea NOT NULL, -- the body or one item of it, the signature, or the effect as JSON
    error text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    replayed_at timestamptz
);

CREATE INDEX dead_letters_open ON dead_letters (id) WHERE replayed_at IS NULL;

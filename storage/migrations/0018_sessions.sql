-- Who stays signed in, and which operator tokens were handed out. Secrets are here as SHA-256 only.

-- One sign-in and everything that was refreshed from it. Only the newest refresh token is kept: the id is as secret as
-- the token it is part of, so whoever brings it with any other secret brings a token that was replaced.
CREATE TABLE refresh_families (
    id uuid PRIMARY KEY,
    wallet text NOT NULL,
    secret_hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);

CREATE INDEX refresh_families_expiry ON refresh_families (expires_at);
CREATE INDEX refresh_families_wallet ON refresh_families (wallet);

-- The tokens themselves are nowhere; `id` is their `jti`. A row without them is written by a revocation, too.
CREATE TABLE operator_tokens (
    id text PRIMARY KEY,
    label text NOT NULL DEFAULT '',
    issued_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);

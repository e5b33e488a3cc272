-- The span that a body came in, where calls are traced: what a worker does with it later is part of the same trace.
ALTER TABLE webhook_inbox ADD COLUMN traceparent text;

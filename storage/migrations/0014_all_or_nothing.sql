-- Ends a statement that is a transaction of its own unless everything in it went as it was meant to: then nothing did.
CREATE FUNCTION all_or_nothing(went_well boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF went_well THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'not all of it went in' USING ERRCODE = 'ZM001';
END
$$;

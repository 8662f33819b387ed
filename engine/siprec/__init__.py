"""The recording server: recording sessions of SIPREC, RFC 7866 and 7865."""

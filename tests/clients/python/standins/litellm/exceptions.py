class RateLimitError(Exception):
    def __init__(self, message: str, llm_provider: str, model: str):
        super().__init__(message)
        self.llm_provider = llm_provider
        self.model = model

"""Which fields the API's messages have, so that both spellings are one and strangers are found.

Every name may be written in camelCase or snake_case, mixed in one body. What a caller's own names
hold (arguments, responses, schemas, labels) is left as it is.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

LEAF = ""  # a value that is not looked into


def _leaves(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), LEAF)


GENERATE = _leaves("model cachedContent labels serviceTier store continuationToken") | {
    "contents": "Content",
    "systemInstruction": "Content",
    "tools": "Tool",
    "toolConfig": "ToolConfig",
    "safetySettings": "SafetySetting",
    "generationConfig": "GenerationConfig",
}
SHAPES: dict[str, dict[str, str]] = {
    "GenerateContentRequest": GENERATE,
    "CountTokensRequest": GENERATE | {"generateContentRequest": "GenerateContentRequest"},
    "EmbedContentRequest": _leaves("model taskType title outputDimensionality embedContentConfig")
    | _leaves("autoTruncate documentOcr audioTrackExtraction")
    | {"content": "Content"},
    "BatchEmbedContentsRequest": {"model": LEAF, "requests": "EmbedContentRequest"},
    "Content": {"role": LEAF, "parts": "Part"},
    "Part": _leaves("text thought thoughtSignature partMetadata executableCode toolCall")
    | _leaves("codeExecutionResult toolResponse videoMetadata mediaResolution audioTranscription")
    | _leaves("mediaProcessing speechMetadata documentMetadata spreadsheetMetadata audioMetadata")
    | {
        "inlineData": "Blob",
        "fileData": "FileData",
        "functionCall": "FunctionCall",
        "functionResponse": "FunctionResponse",
    },
    "Blob": _leaves("data mimeType displayName"),
    "FileData": _leaves("fileUri mimeType displayName"),
    "FunctionCall": _leaves("id name args partialArgs willContinue"),
    "FunctionResponse": _leaves("id name response parts scheduling willContinue"),
    "Tool": _leaves("googleSearch googleSearchRetrieval codeExecution urlContext fileSearch")
    | _leaves("googleMaps computerUse mcpServers enterpriseWebSearch retrieval parallelAiSearch")
    | _leaves("exaAiSearch")
    | {"functionDeclarations": "FunctionDeclaration"},
    "FunctionDeclaration": _leaves("name description behavior parameters parametersJsonSchema")
    | _leaves("response responseJsonSchema"),
    "ToolConfig": _leaves("retrievalConfig includeServerSideToolInvocations")
    | {"functionCallingConfig": "FunctionCallingConfig"},
    "FunctionCallingConfig": _leaves("mode allowedFunctionNames streamFunctionCallArguments"),
    "SafetySetting": _leaves("category threshold method"),
    "GenerationConfig": _leaves("temperature topP topK candidateCount maxOutputTokens seed")
    | _leaves("stopSequences responseLogprobs logprobs presencePenalty frequencyPenalty")
    | _leaves("responseMimeType responseSchema responseJsonSchema responseModalities")
    | _leaves("mediaResolution speechConfig audioTranscriptionConfig responseFormat")
    | _leaves("enableEnhancedCivicAnswers audioTimestamp routingConfig modelSelectionConfig")
    | _leaves("enableAffectiveDialog translationConfig")
    | {"thinkingConfig": "ThinkingConfig", "imageConfig": "ImageConfig"},
    "ThinkingConfig": _leaves("includeThoughts thinkingBudget thinkingLevel"),
    "ImageConfig": _leaves("aspectRatio imageSize outputMimeType outputCompressionQuality")
    | _leaves("personGeneration prominentPeople imageOutputOptions"),
    "LiveMessage": {
        "setup": "LiveSetup",
        "clientContent": "LiveContent",
        "realtimeInput": "LiveInput",
        "toolResponse": "LiveResults",
        "contextUpdate": "LiveUpdate",
    },
    "LiveSetup": _leaves("model labels inputAudioTranscription outputAudioTranscription")
    | _leaves("avatarConfig explicitVadSignal")
    | {
        "generationConfig": "GenerationConfig",
        "systemInstruction": "Content",
        "tools": "Tool",
        "toolConfig": "ToolConfig",
        "safetySettings": "SafetySetting",
        "realtimeInputConfig": "LiveInputConfig",
        "sessionResumption": "LiveResumption",
        "contextWindowCompression": "LiveCompression",
        "historyConfig": "LiveHistory",
        "proactivity": "LiveProactivity",
    },
    "LiveInputConfig": _leaves("activityHandling turnCoverage")
    | {"automaticActivityDetection": "LiveDetection"},
    "LiveDetection": _leaves("disabled startOfSpeechSensitivity endOfSpeechSensitivity")
    | _leaves("prefixPaddingMs silenceDurationMs"),
    "LiveResumption": _leaves("handle transparent"),
    "LiveCompression": {"triggerTokens": LEAF, "slidingWindow": "LiveWindow"},
    "LiveWindow": _leaves("targetTokens"),
    "LiveHistory": _leaves("initialHistoryInClientContent"),
    "LiveProactivity": _leaves("proactiveAudio"),
    "LiveContent": {"turns": "Content", "turnComplete": LEAF},
    "LiveInput": _leaves("text activityStart activityEnd audioStreamEnd")
    | dict.fromkeys(("audio", "video", "mediaChunks"), "Blob"),
    "LiveResults": {"functionResponses": "FunctionResponse"},
    "LiveUpdate": {"systemInstruction": "Content", "tools": "LiveTools"},
    "LiveTools": {"tools": "Tool"},
}


class Spelled(NamedTuple):
    fields: dict[str, Any]  # names in camelCase; those that are not in the message are left out
    unknown: list[tuple[str, str]]  # where a field was that nobody knows, and its name


def spelled(wire: Mapping[str, Any], *, message: str) -> Spelled:
    """A message with each name in its one spelling."""
    unknown: list[tuple[str, str]] = []
    return Spelled(_object(wire, message, "", unknown), unknown)


def camel(name: str) -> str:
    """The camelCase of a name in either spelling."""
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def _object(
    wire: Mapping[str, Any], message: str, place: str, unknown: list[tuple[str, str]]
) -> dict[str, Any]:
    shape, fields = SHAPES[message], dict[str, Any]()
    for written, value in wire.items():
        name = camel(written)
        if name not in shape:
            unknown.append((place, written))
        elif value is not None:
            inner = f"{place}.{written}" if place else written
            fields[name] = _value(value, shape[name], inner, unknown)
    return fields


def _value(value: Any, message: str, place: str, unknown: list[tuple[str, str]]) -> Any:
    if message == LEAF:
        return value
    if isinstance(value, list):
        items = enumerate(cast("list[Any]", value))
        return [_value(item, message, f"{place}[{i}]", unknown) for i, item in items]
    if isinstance(value, Mapping):
        return _object(cast("Mapping[str, Any]", value), message, place, unknown)
    return value
